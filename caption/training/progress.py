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

    @classmethod
    def of(cls, values: dict, source: object) -> "Progress":
        """The progress that a checkpoint of `source` holds; ValueError for what cannot be one."""
        try:
            found = cls(**values)
        except TypeError:
            raise ValueError(
                f"{source}: written by an earlier version that cannot be resumed; start a new run "
                f"from its best weights: --start {source} --out FOLDER"
            ) from None
        for name, default in vars(cls()).items():
            if not _may_replace(default, getattr(found, name)):
                value = str(getattr(found, name))[:60]
                raise ValueError(f"{source}: damaged; {name} of its progress is {value!r}")
        return found

    @property
    def is_validated(self) -> bool:
        """Whether a validation has been done."""
        return self.best > float("-inf")

    @property
    def is_new(self) -> bool:
        """Whether nothing has been trained or validated yet."""
        return not self.step and not self.is_validated


def _may_replace(default: object, value: object) -> bool:
    """Whether `value` is of the kind of `default`, and no count is negative."""
    if isinstance(default, list):
        return isinstance(value, list) and all(_may_replace(0.0, item) for item in value)
    if isinstance(default, float):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(default) and value >= 0
