"""What a training run reports: a progress bar, metrics.jsonl, curves.png and TensorBoard.

In: the numbers of each step and of each validation. Out: files in the run's folder.
"""

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from caption.training.curves import draw
from prepro.runtime.metrics_log import append_row, read_rows, rewrite_rows
from prepro.runtime.progress_bar import ProgressBar

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from caption.config import TrainConfig
    from caption.training.progress import Progress
    from caption.training.validation import Validation
    from prepro.annotations.records import ImageRecord

LOG_EVERY = 25  # steps between two lines of metrics.jsonl


class TrainingLog:
    """A run's progress bar, metrics.jsonl, curves and, where installed, TensorBoard."""

    def __init__(
        self, config: "TrainConfig", writes: bool, images: int, progress: "Progress"
    ) -> None:
        """`writes` is true in the one process that writes files; an epoch has `images` images."""
        self.run, self.writes, self.images = config.out, writes, images
        self.board = _board(config.out, progress.step) if writes else None
        if writes:
            rewind(config.out, progress.step, progress.epoch)
        done = progress.epoch * images + progress.cursor
        self.bar = ProgressBar(config.epochs * images, "train", done, enabled=writes)
        self.print = self.bar.print

    def log_step(
        self, progress: "Progress", norm: float, rate: float, images: int,
        samples: dict[str, float],
    ) -> None:  # fmt: skip
        """Log a step of `images` images; `samples` holds the means of self-critical training."""
        if progress.step % LOG_EVERY:
            self.bar.add(images)
            return
        loss = progress.loss / progress.steps
        epoch = progress.epoch + progress.cursor / self.images
        self._write({
            "step": progress.step, "epoch": round(epoch, 4), "loss": loss, "learning_rate": rate,
            "gradient_norm": norm, **samples, "time": round(time.time(), 1),
        })  # fmt: skip
        metric = f"reward {samples['reward']:.3f}" if samples else f"loss {loss:.3f}"
        best = f", best CIDEr-D {progress.best:.3f}" if progress.is_validated else ""
        self.bar.add(images, status=metric + best)
        progress.loss, progress.steps, progress.sums = 0.0, 0, []

    def log_validation(
        self, progress: "Progress", result: "Validation", records: "Sequence[ImageRecord]"
    ) -> None:
        self._write({
            "step": progress.step, "epoch": progress.epoch, "val_loss": result.loss,
            "unique": result.unique, **result.scores,
        })  # fmt: skip
        if self.writes:
            draw([self.run], self.run / "curves.png")
            self.print(result.text(records, progress.epoch))

    def _write(self, row: dict) -> None:
        if self.writes:
            append_row(self.run, row)
        if self.board:
            for name, value in row.items():
                if name not in ("step", "time"):
                    self.board.add_scalar(name, value, row["step"])

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.__exit__()
        if self.board:
            self.board.close()


def _board(run: Path, step: int) -> "SummaryWriter | None":
    """A TensorBoard writer if TensorBoard is installed; events after `step` are purged."""
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(run / "tensorboard", purge_step=step + 1)


def rewind(run: Path, step: int, epoch: int) -> None:
    """Remove the rows after `step` and the validations after `epoch`, where a run resumes."""
    if (run / "metrics.jsonl").is_file():
        rows = [row for row in read_rows(run) if row.get("step", 0) <= step]
        rewrite_rows(run, [r for r in rows if "val_loss" not in r or r["epoch"] <= epoch])
