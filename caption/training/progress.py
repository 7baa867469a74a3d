"""How far a run has come: its step, epoch and best score, saved in every checkpoint."""

from dataclasses import dataclass, field


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
