"""What a run writes down: metrics.jsonl, one JSON object a line, and the curves drawn from it.

python -m caption.journal runs/a runs/b --out compare.png
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tqdm import tqdm

from eval import command
from eval.files import whole_file
from prepro.figure import curve, figure

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from caption.config import TrainConfig
    from caption.training.stages import Progress
    from caption.validate import Validation
    from prepro.records import ImageRecord

LOG_EVERY = 25  # steps a line of metrics.jsonl


class Journal:
    """A run's progress bar, metrics.jsonl, curves and, where installed, TensorBoard."""

    def __init__(
        self, config: "TrainConfig", writes: bool, images: int, progress: "Progress"
    ) -> None:
        """`writes`: whether this process is the one that does; `images` of an epoch."""
        self.run, self.writes, self.images = config.out, writes, images
        self.each = config.captions_per_image
        self.board = _board(config.out, progress.step) if writes else None
        if writes:
            rewind(config.out, progress.step, progress.epoch)
        self.bar = tqdm(
            total=config.epochs * images * self.each, desc="train", unit="captions",
            initial=(progress.epoch * images + progress.cursor) * self.each, unit_scale=True,
            disable=None if writes else True, dynamic_ncols=True,
        )  # fmt: skip

    def stepped(
        self, progress: "Progress", norm: float, rate: float, images: int,
        samples: dict[str, float],
    ) -> None:  # fmt: skip
        """A step of `images` images is done; `samples`: what self-critical training drew."""
        self.bar.update(images * self.each)
        if progress.step % LOG_EVERY:
            return
        loss = progress.loss / progress.steps
        epoch = progress.epoch + progress.cursor / self.images
        self._write({
            "step": progress.step, "epoch": round(epoch, 4), "loss": loss, "learning_rate": rate,
            "gradient_norm": norm, **samples, "time": round(time.time(), 1),
        })  # fmt: skip
        doing = f"reward {samples['reward']:.3f}" if samples else f"loss {loss:.3f}"
        self.bar.set_postfix_str(f"{doing}, lr {rate:.1e}, CIDEr-D {progress.best:.3f}")
        progress.loss, progress.steps, progress.sums = 0.0, 0, []

    def validated(
        self, progress: "Progress", found: "Validation", records: "Sequence[ImageRecord]"
    ) -> None:
        self._write({
            "step": progress.step, "epoch": progress.epoch, "val_loss": found.loss,
            "unique": found.unique, **found.scores,
        })  # fmt: skip
        if self.writes:
            draw([self.run], self.run / "curves.png")
            tqdm.write(found.text(records, progress.epoch), file=sys.stderr)

    def _write(self, row: dict) -> None:
        if self.writes:
            append(self.run, row)
        if self.board:
            for name, value in row.items():
                if name not in ("step", "time"):
                    self.board.add_scalar(name, value, row["step"])

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.board:
            self.board.close()


def _board(run: Path, step: int) -> "SummaryWriter | None":
    """TensorBoard's writer, where it is installed; what lies after `step` is purged."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(run / "tensorboard", purge_step=step + 1)


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
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def rewind(run: Path, step: int, epoch: int) -> None:
    """Forget what lies after `step`, and validations after `epoch`, when a run resumes there."""
    path = run / "metrics.jsonl"
    if path.is_file():
        kept = [row for row in read(run) if row["step"] <= step]
        kept = [row for row in kept if "val_loss" not in row or row["epoch"] <= epoch]
        with whole_file(path) as partial:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            partial.write_text(text, encoding="utf-8")


def names(runs: Sequence[Path]) -> list[str]:
    """How figures and pages call runs, each in its own way: by folder, by path, or numbered."""
    for called in ([run.resolve().name for run in runs], [str(run) for run in runs]):
        if len(set(called)) == len(called):
            return called
    return [f"{run.resolve().name} ({number})" for number, run in enumerate(runs, 1)]


def draw(runs: Sequence[Path], out: Path) -> None:
    """Loss and validation CIDEr-D over epochs: training solid, validation dashed.

    In self-critical training the reward, beside CIDEr-D, takes the loss's place.
    FileNotFoundError for a folder without metrics.jsonl.
    """
    journals = [read(run) for run in runs]
    rewarded = any("reward" in row for rows in journals for row in rows)
    scores = "CIDEr-D, reward in training" if rewarded else "validation CIDEr-D"
    with figure(out, names(runs), ["loss (nats a word)", scores]) as (left, right):
        for number, rows in enumerate(journals):
            steps = [row for row in rows if "loss" in row]
            val = [row for row in rows if "CIDEr-D" in row]
            losses = [(row["epoch"], row["loss"]) for row in steps if "reward" not in row]
            curve(left, number, losses)
            curve(left, number, [(row["epoch"], row["val_loss"]) for row in val], True)
            rewards = [(row["epoch"], row["reward"]) for row in steps if "reward" in row]
            curve(right, number, rewards)
            curve(right, number, [(row["epoch"], row["CIDEr-D"]) for row in val], True)


@dataclass(frozen=True)
class Options:
    """Draw the curves of one or several runs in one figure.

    Example: python -m caption.journal runs/a runs/b --out compare.png
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs/latest"),)
    """folders of runs"""
    out: Path = Path("curves.png")
    """the figure: .png, .pdf or .svg"""


def main(options: Options) -> None:
    draw(options.runs, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
