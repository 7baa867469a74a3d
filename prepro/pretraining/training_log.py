"""What a training run reports: metrics.jsonl, a progress bar and a line after each epoch.

In: the measures of each window of iterations and of each evaluation. Out: rows
{"epoch", "lr", "train": {...}} and {"epoch", "val": {...}}; progress on stderr.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from prepro.pretraining.measures import describe
from prepro.runtime import metrics_log
from prepro.runtime.progress_bar import ProgressBar

if TYPE_CHECKING:
    from prepro.pretraining.setup import TrainingSetup


class PretrainingLog:
    """The log of a run that starts or resumes after `epoch` epochs; only rank 0 writes."""

    def __init__(self, setup: "TrainingSetup", epoch: int) -> None:
        self.folder, self.num_classes = setup.folder, setup.task.num_classes
        self.enabled = setup.context.rank == 0
        self.loss_sum = self.image_count = 0.0
        if self.enabled:
            remove_rows_after(setup.folder, epoch)
        each = setup.images_per_epoch
        self.progress = ProgressBar(
            setup.recipe.epochs * each, "pretrain", initial=epoch * each, enabled=self.enabled
        )

    def __enter__(self) -> "PretrainingLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.__exit__(*exception)

    def add_window(self, epoch: float, measures: dict[str, float], lr: float, images: int) -> None:
        """Log the means over a window of iterations that ends at `epoch`, a fraction."""
        self.loss_sum += measures["loss"] * images
        self.image_count += images
        self._append({"epoch": epoch, "lr": lr, "train": measures})
        self.progress.add(images, status=", ".join(describe(measures, self.num_classes)))

    def finish_epoch(self, epoch: int, measures: dict[str, float]) -> None:
        """Log the evaluation after `epoch` epochs."""
        self._append({"epoch": epoch, "val": measures})
        train = describe({"loss": self.loss_sum / self.image_count}, self.num_classes)
        val = describe(measures, self.num_classes, "val ")
        self.progress.print("  ".join([f"epoch {epoch}", *train, *val]))
        self.loss_sum = self.image_count = 0.0

    def _append(self, row: dict) -> None:
        if self.enabled:
            metrics_log.append_row(self.folder, row)


def remove_rows_after(folder: Path, epoch: int) -> None:
    """Remove the rows of epochs that no checkpoint holds, which this run writes again."""
    if (folder / metrics_log.FILE_NAME).is_file():
        rows = [row for row in metrics_log.read_rows(folder) if row["epoch"] <= epoch]
        metrics_log.rewrite_rows(folder, rows)
