"""What a training run reports: a progress bar, metrics.jsonl, curves.png and TensorBoard.

In: the numbers of each step and of each validation. Out: files in the run's folder.
"""

import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from caption.training.curves import draw
from prepro.runtime.metrics_log import append_row, read_rows, rewrite_rows

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from caption.config import TrainConfig
    from caption.training.stages import Progress
    from caption.training.validation import Validation
    from prepro.annotations.records import ImageRecord

LOG_EVERY = 25  # steps between two lines of metrics.jsonl


class MetricsLog:
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
            append_row(self.run, row)
        if self.board:
            for name, value in row.items():
                if name not in ("step", "time"):
                    self.board.add_scalar(name, value, row["step"])

    def __enter__(self) -> "MetricsLog":
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


def rewind(run: Path, step: int, epoch: int) -> None:
    """Remove the rows after `step` and the validations after `epoch`, where a run resumes."""
    if (run / "metrics.jsonl").is_file():
        rows = [row for row in read_rows(run) if row["step"] <= step]
        rewrite_rows(run, [r for r in rows if "val_loss" not in r or r["epoch"] <= epoch])
