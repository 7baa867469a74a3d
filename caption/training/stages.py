"""The stages of a run: whether the encoder is fine-tuned, and which objective is trained.

In: a config and the progress of the run. Out: for an epoch, whether the encoder is fine-tuned and
whether the loss is self-critical. Each switches on at its epoch, or sooner when patience runs out,
and never off again. So one config takes a run from stored features through fine-tuning to
self-critical training, in this order or another.
"""

from caption.config import TrainConfig
from caption.training.progress import Progress

SCST_PATIENCE = 3  # validations, if the config has no patience


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
