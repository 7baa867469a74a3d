"""The stages of one run: what is trained from which epoch on.

In: a config. Out: stages in order. A stage begins at its epoch, or sooner when --patience has run
out in the one before; the counter of patience begins anew with each.
"""

from typing import NamedTuple

from caption.config import TrainConfig

FROZEN, FINETUNE = "frozen", "finetune"


class Stage(NamedTuple):
    name: str
    begins: int
    """the epoch, counted from 0"""


def stages(config: TrainConfig) -> list[Stage]:
    """At least one; the first begins at epoch 0."""
    if config.finetune_after == 0:
        return [Stage(FINETUNE, 0)]
    later = [Stage(FINETUNE, config.finetune_after)] if config.finetune_after > 0 else []
    return [Stage(FROZEN, 0), *later]


def due(config: TrainConfig, stage: int, epoch: int, stale: int) -> int | None:
    """The stage to train `epoch` in, coming from `stage`; None when training is over."""
    plan = stages(config)
    tired = bool(config.patience) and stale >= config.patience
    if tired and stage + 1 == len(plan):
        return None
    if tired:
        return stage + 1
    reached = [number for number, one in enumerate(plan) if one.begins <= epoch]
    return max(stage, reached[-1])
