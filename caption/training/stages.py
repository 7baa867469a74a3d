"""The stages of a run: whether the encoder is fine-tuned, and which objective is trained.

In: a config and the progress of the run. Out: for an epoch, whether the encoder is fine-tuned and
whether the loss is self-critical. Each switches on at its epoch, or sooner when patience runs out,
and never off again. So one config takes a run from stored features through fine-tuning to
self-critical training, in this order or another.
"""

from dataclasses import dataclass, field

from caption.config import TrainConfig

SCST_PATIENCE = 3  # validations, if the config has no patience


@dataclass
class Progress:
    """The progress of a run; plain values, saved in every checkpoint."""

    step: int = 0
    epoch: int = 0
    cursor: int = 0
    """images of this epoch that are done"""
    best: float = float("-inf")
    """CIDEr-D of the best validation"""
    stale: int = 0
    """validations of this stage since the best one"""
    finetune: bool = False
    """whether the encoder is trained"""
    scst: bool = False
    """whether training is self-critical"""
    stage_epoch: int = 0
    """the epoch in which this stage began"""
    loss: float = 0.0
    """sum over the steps since the last row of the metrics log"""
    steps: int = 0
    sums: list[float] = field(default_factory=list)
    """caption.training.scst.Statistics of those steps; empty in cross entropy training"""

    @property
    def is_validated(self) -> bool:
        """Whether a validation has been done."""
        return self.best > float("-inf")

    @property
    def is_new(self) -> bool:
        """Whether nothing has been trained or validated yet."""
        return not self.step and not self.is_validated


def next_stage(config: TrainConfig, progress: Progress, epoch: int) -> tuple[bool, bool] | None:
    """(finetune, scst) of `epoch`, given the progress so far; None if training is over."""
    waiting = [
        start
        for start, is_on in (
            (config.finetune_after, progress.finetune), (config.scst_after, progress.scst),
        )
        if start >= 0 and not is_on
    ]  # fmt: skip
    patience = config.patience or (SCST_PATIENCE if progress.scst else 0)
    if patience and progress.stale >= patience:
        if not waiting:
            return None
        epoch = max(epoch, min(waiting))
    return (
        progress.finetune or 0 <= config.finetune_after <= epoch,
        progress.scst or 0 <= config.scst_after <= epoch,
    )
