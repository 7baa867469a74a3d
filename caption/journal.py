"""What a run writes down: metrics.jsonl, one JSON object a line, and the curves drawn from it.

    python -m caption.journal runs/a runs/b --out compare.png
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command
from eval.files import whole_file


def append(run: Path, row: dict) -> None:
    """One line at the end of metrics.jsonl; NaN and infinity become null."""
    clean = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(clean, ensure_ascii=False) + "\n")


def read(run: Path) -> list[dict]:
    """All rows; a last line that a kill cut short is left out. FileNotFoundError."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; is {run} a run?")
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def rewind(run: Path, step: int) -> None:
    """Forget what lies after `step`, when a run resumes from there."""
    path = run / "metrics.jsonl"
    if path.is_file():
        kept = [row for row in read(run) if row["step"] <= step]
        with whole_file(path) as partial:
            partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


def draw(runs: list[Path], out: Path) -> None:
    """Loss and validation CIDEr-D over epochs: training solid, validation dashed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for number, run in enumerate(runs):
        rows, color = read(run), f"C{number}"
        name = run.name if len(runs) > 1 else "training"
        train = [(row["epoch"], row["loss"]) for row in rows if "loss" in row]
        val = [row for row in rows if "CIDEr-D" in row]
        left.plot(*zip(*train, strict=True), color=color, label=name) if train else None
        epochs = [row["epoch"] for row in val]
        left.plot(epochs, [row["val_loss"] for row in val], "--", color=color, label="validation")
        right.plot(epochs, [row["CIDEr-D"] for row in val], "--o", color=color, ms=3, label=name)
    left.set(xlabel="epoch", ylabel="loss (nats a word)")
    right.set(xlabel="epoch", ylabel="validation CIDEr-D")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(frameon=False)
    with whole_file(out) as partial:
        figure.savefig(partial, format=out.suffix.lstrip(".") or "png", dpi=150)
    pyplot.close(figure)


@dataclass(frozen=True)
class Options:
    """Draw the curves of one or several runs in one figure.

    Example: python -m caption.journal --runs runs/a runs/b --out compare.png
    """

    runs: tuple[Path, ...] = (Path("runs/latest"),)
    """folders of runs"""
    out: Path = Path("curves.png")
    """the figure: .png, .pdf or .svg"""


def main(options: Options) -> None:
    draw(list(options.runs), options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
