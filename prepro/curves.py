"""Draw the training curves of one or several runs, and write their numbers.

In: run folders of prepro.pretrain, or logs of fb.resnet.torch (several logs of one run are joined
by "+"). Out: a figure with one panel for each measure (training solid, validation dashed), and a
CSV file.

    python -m prepro.curves runs/flowers --out curves.png
    python -m prepro.curves train.log.1+train.log.2 runs/mine --out both.png
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from eval import command
from eval.files import whole_file
from prepro.pretraining.measures import NAMES
from prepro.runtime.metrics_log import FILE_NAME, read_file
from prepro.runtime.plotting import curve, figure

NUMBER = r"([-+\d.einfa]+)"
TRAIN_LINE = re.compile(
    rf"\| Epoch: \[(\d+)\]\[(\d+)/(\d+)\].*?Err\s+{NUMBER}\s+top1\s+{NUMBER}\s+top5\s+{NUMBER}\s*$"
)
VAL_LINE = re.compile(rf"Finished epoch #\s*(\d+)\s+top1:\s+{NUMBER}\s+top5:\s+{NUMBER}\s*$")


@dataclass(frozen=True)
class Options:
    """Draw the training curves of encoders: loss and errors over epochs.

    Example: python -m prepro.curves runs/plain34 runs/resnet34 --out degradation.png
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """the runs to compare: run folders or metrics.jsonl of prepro.pretrain, or logs of
    fb.resnet.torch, joined by + if they are of one run: a.log.1+a.log.2"""
    out: Path = Path("curves.png")
    """the figure to write (.png, .pdf or .svg); a .csv file of the same name gets the numbers"""
    window: int = 40
    """number of iterations of an fb.resnet.torch log that are averaged into one point"""


@dataclass
class Curves:
    """Points (epoch, {"loss": ..., "top1": ...}) of a run."""

    name: str
    train: list[tuple[float, dict]] = field(default_factory=list)
    val: list[tuple[float, dict]] = field(default_factory=list)


def main(options: Options) -> None:
    if not options.runs:
        raise ValueError("no run is named; give the folders of one or more runs")
    runs = [read(run, options.window) for run in options.runs]
    draw(runs, options.out)
    write_csv(runs, options.out.with_suffix(".csv"))
    print(options.out)


def read(run: str, window: int = 40) -> Curves:
    """The curves of a folder, a metrics.jsonl or joined logs. ValueError if there are none."""
    paths = [Path(path) for path in run.split("+")]
    paths = [path / FILE_NAME if path.is_dir() else path for path in paths]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such log")
    if paths[0].suffix == ".jsonl":
        curves = from_metrics([row for path in paths for row in read_file(path)], run)
    else:
        text = "\n".join(path.read_text(errors="replace") for path in paths)
        curves = from_log(text.splitlines(), run, window)
    if not curves.train and not curves.val:
        raise ValueError(f"{run}: no line of a training run in it; give a run folder or a log")
    return curves


def from_metrics(rows: Iterable[dict], name: str) -> Curves:
    """The curves in the rows of prepro.pretrain's metrics.jsonl."""
    curves = Curves(name)
    for row in rows:
        for split in ("train", "val"):
            if isinstance(row.get(split), dict):
                getattr(curves, split).append((row["epoch"], row[split]))
    return curves


def from_log(lines: Iterable[str], name: str, window: int) -> Curves:
    """The curves in fb.resnet.torch's output: means over windows of iterations, at their ends.

    A resumed run repeats the iterations after its checkpoint: the last line of each counts.
    """
    curves = Curves(name)
    trained: dict[float, dict] = {}
    finished: dict[float, dict] = {}
    for line in lines:
        if match := TRAIN_LINE.search(line):
            epoch, number, count = (int(text) for text in match.groups()[:3])
            names = ("loss", "top1", "top5")
            values = dict(zip(names, map(float, match.groups()[3:]), strict=True))
            trained[epoch - 1 + number / count] = values
        elif match := VAL_LINE.search(line):
            finished[int(match[1])] = {"top1": float(match[2]), "top5": float(match[3])}
    curves.train += windows(sorted(trained.items()), window)
    curves.val += sorted(finished.items())
    return curves


def windows(points: list[tuple[float, dict]], size: int) -> Iterator[tuple[float, dict]]:
    """Means of every `size` consecutive points; the last window may be shorter."""
    for start in range(0, len(points), size):
        chunk = points[start : start + size]
        means = {key: sum(p[key] for _, p in chunk) / len(chunk) for key in chunk[0][1]}
        yield chunk[-1][0], means


def write_csv(runs: list[Curves], path: Path) -> None:
    """The columns run, part (train or val), epoch and every measure."""
    keys = sorted({key for run in runs for _, values in run.train + run.val for key in values})
    with whole_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "part", "epoch", *keys])
        for run in runs:
            for split, points in (("train", run.train), ("val", run.val)):
                for epoch, values in points:
                    row = [values.get(key, "") for key in keys]
                    writer.writerow([run.name, split, f"{epoch:.6g}", *row])


def axis_label(key: str) -> str:
    """ "loss (nats)" or "top-1 error (%)"."""
    return f"{NAMES.get(key, key)} ({'nats' if key == 'loss' else '%'})"


def draw(runs: list[Curves], path: Path) -> None:
    """Draw a panel for each measure that is not always 0: errors first, the loss last."""
    points = [values for run in runs for _, values in run.train + run.val]
    measures = {key for values in points for key, value in values.items() if value}
    measures = sorted(measures, key=lambda key: (key == "loss", key))
    names = [Path(run.name.split("+")[0]).name for run in runs]
    names = [run.name for run in runs] if len(set(names)) < len(names) else names
    with figure(path, names, [axis_label(key) for key in measures]) as panels:
        for axes, key in zip(panels, measures, strict=True):
            for number, run in enumerate(runs):
                for points in (run.train, run.val):
                    curve_points = [(x, values[key]) for x, values in points if key in values]
                    curve(axes, number, curve_points, validation=points is run.val)
            axes.set(xlim=(0, None), ylim=(0, None))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
