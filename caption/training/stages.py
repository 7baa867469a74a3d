"""The stages of one run: what is trained, and towards what, from which epoch on.

In: a config and where the run stands. Out: the same with the switches that are due. There are two,
the encoder learns too and the score itself is what is trained for; each goes on at its epoch, or
sooner when patience has run out, and never off again. So one config takes a run from frozen
features through fine-tuning to self-scst training, in this order or another.
"""

from dataclasses import dataclass, field

from caption.config import TrainConfig

GUARD = 3  # patience of the self-scst stage where the config has none


@dataclass
class Progress:
    """Where a run stands; plain values, saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    cursor: int = 0
    """images of this epoch that are done"""
    best: float = float("-inf")
    """CIDEr-D of the best validation"""
    stale: int = 0
    """validations of this stage since then"""
    finetune: bool = False
    """whether the encoder learns"""
    scst: bool = False
    """whether the score of the model's own captions is trained for"""
    stage_epoch: int = 0
    """epoch when this stage began"""
    loss: float = 0.0
    """sum over the steps since the last line of the journal"""
    steps: int = 0
    sums: list[float] = field(default_factory=list)
    """of the samples in those steps (caption.training.scst.Statistics); none in cross entropy"""


def next_stage(config: TrainConfig, progress: Progress, epoch: int) -> tuple[bool, bool] | None:
    """(finetune, scst) of `epoch`, coming from `progress`; None when training is over."""
    waiting = [
        begins
        for begins, on in (
            (config.finetune_after, progress.finetune), (config.scst_after, progress.scst),
        )
        if begins >= 0 and not on
    ]  # fmt: skip
    patience = config.patience or (GUARD if progress.scst else 0)
    if patience and progress.stale >= patience:
        if not waiting:
            return None
        epoch = max(epoch, min(waiting))
    return (
        progress.finetune or 0 <= config.finetune_after <= epoch,
        progress.scst or 0 <= config.scst_after <= epoch,
    )
