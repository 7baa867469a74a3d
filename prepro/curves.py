"""Training curves of one or several runs, as a picture and as numbers.

In: folders of prepro.pretrain, or logs of fb.resnet.torch (several of one run, joined by "+").
Out: a figure with a panel a measure (training solid, validation dashed) and a CSV.

    python -m prepro.curves runs/flowers --out curves.png
    python -m prepro.curves train.log.1+train.log.2 runs/mine --out both.png
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eval import command
from eval.files import whole_file
from prepro.runtime.plotting import curve, figure

LABELS = {"loss": "loss (nats)", "top1": "top-1 error (%)", "top5": "top-5 error (%)"}
NUMBER = r"([-+\d.einfa]+)"
TRAINED = re.compile(
    rf"\| Epoch: \[(\d+)\]\[(\d+)/(\d+)\].*?Err\s+{NUMBER}\s+top1\s+{NUMBER}\s+top5\s+{NUMBER}\s*$"
)
FINISHED = re.compile(rf"Finished epoch #\s*(\d+)\s+top1:\s+{NUMBER}\s+top5:\s+{NUMBER}\s*$")


@dataclass(frozen=True)
class Options:
    """Draw training curves.

    Example: python -m prepro.curves runs/plain34 runs/resnet34 --out degradation.png
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """folders or metrics.jsonl of prepro.pretrain, or logs of fb.resnet.torch: a.log.1+a.log.2"""
    out: Path = Path("curves.png")
    """the figure, .png, .pdf or .svg; the numbers go beside it, into .csv"""
    window: int = 40
    """iterations that a point of an fb.resnet.torch log averages"""


@dataclass
class Curves:
    """Points (epoch, {"loss": ..., "top1": ...}) of a run."""

    name: str
    train: list[tuple[float, dict]] = field(default_factory=list)
    val: list[tuple[float, dict]] = field(default_factory=list)


def main(options: Options) -> None:
    runs = [read(run, options.window) for run in options.runs]
    write_csv(runs, options.out.with_suffix(".csv"))
    draw(runs, options.out)
    print(options.out)


def read(run: str, window: int = 40) -> Curves:
    """The curves of a folder, a metrics.jsonl or joined logs. ValueError where there are none."""
    paths = [Path(path) for path in run.split("+")]
    paths = [path / "metrics.jsonl" if path.is_dir() else path for path in paths]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such log")
    lines = [line for path in paths for line in path.read_text(errors="replace").splitlines()]
    parse = from_journal if paths[0].suffix == ".jsonl" else from_log
    curves = parse(lines, Curves(run), window)
    if not curves.train and not curves.val:
        raise ValueError(f"{run}: no line of a training run in it")
    return curves


def from_journal(lines: Iterable[str], curves: Curves, window: int) -> Curves:
    """Of prepro.pretrain's metrics.jsonl; a line that was cut short is left out."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        part = "val" if "val" in row else "train"
        getattr(curves, part).append((row["epoch"], row[part]))
    return curves


def from_log(lines: Iterable[str], curves: Curves, window: int) -> Curves:
    """Of fb.resnet.torch's output: means over windows of iterations, x where the window ends.

    A resumed run repeats what came after its checkpoint: the later lines hold.
    """
    trained: dict[float, dict] = {}
    finished: dict[float, dict] = {}
    for line in lines:
        if match := TRAINED.search(line):
            epoch, number, count = (int(text) for text in match.groups()[:3])
            names = ("loss", "top1", "top5")
            values = dict(zip(names, map(float, match.groups()[3:]), strict=True))
            trained[epoch - 1 + number / count] = values
        elif match := FINISHED.search(line):
            finished[int(match[1])] = {"top1": float(match[2]), "top5": float(match[3])}
    curves.train += windows(sorted(trained.items()), window)
    curves.val += sorted(finished.items())
    return curves


def windows(points: list[tuple[float, dict]], size: int) -> Iterator[tuple[float, dict]]:
    """Means of every `size` points that follow one another, the last window perhaps shorter."""
    for start in range(0, len(points), size):
        part = points[start : start + size]
        yield part[-1][0], {key: sum(p[key] for _, p in part) / len(part) for key in part[0][1]}


def write_csv(runs: list[Curves], path: Path) -> None:
    """run, part (train or val), epoch and every measure."""
    keys = sorted({key for run in runs for _, values in run.train + run.val for key in values})
    with whole_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "part", "epoch", *keys])
        for run in runs:
            for part, points in (("train", run.train), ("val", run.val)):
                for epoch, values in points:
                    row = [values.get(key, "") for key in keys]
                    writer.writerow([run.name, part, f"{epoch:.6g}", *row])


def draw(runs: list[Curves], path: Path) -> None:
    """A panel a measure that is not always 0: errors first, the loss last."""
    points = [values for run in runs for _, values in run.train + run.val]
    measures = {key for values in points for key, value in values.items() if value}
    measures = sorted(measures, key=lambda key: (key == "loss", key))
    names = [Path(run.name.split("+")[0]).name for run in runs]
    names = [run.name for run in runs] if len(set(names)) < len(names) else names
    with figure(path, names, [LABELS.get(key, f"{key} error (%)") for key in measures]) as panels:
        for axes, key in zip(panels, measures, strict=True):
            for number, run in enumerate(runs):
                for points in (run.train, run.val):
                    some = [(x, values[key]) for x, values in points if key in values]
                    curve(axes, number, some, validation=points is run.val)
            axes.set(xlim=(0, None), ylim=(0, None))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
