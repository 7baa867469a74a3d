"""What a network is trained to predict: the loss and the errors, apart from the training loop.

In: logits (B, C) and targets. Out: a loss, and the errors of each image.
SingleLabel is one class an image; multilabel.MultiLabel is many labels an image.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor


class Task(Protocol):
    """What the trainer needs of a task; the targets of a batch are whatever the task defines."""

    names: tuple[str, ...]
    """of the classes or labels"""
    main_error: str
    """the key of `errors` that decides which epoch is the best"""

    @property
    def num_classes(self) -> int: ...
    def to_probabilities(self, targets: Tensor) -> Tensor:
        """Targets as floats (B, C), which MixUp can mix."""

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """A scalar, the mean over images."""

    def errors(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Measures (B,) from 0 to 1, 0 being best."""


@dataclass(frozen=True)
class SingleLabel:
    """One class an image: cross entropy, top-1 and top-5 errors (fb.resnet.torch's measures)."""

    names: tuple[str, ...]
    main_error: ClassVar[str] = "top1"

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def to_probabilities(self, targets: Tensor) -> Tensor:
        """Class indices (B,) as probabilities (B, C), which MixUp can mix."""
        return F.one_hot(targets, self.num_classes).float()

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy; targets are class indices (B,) or probabilities (B, C)."""
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def errors(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """1.0 for each image whose class is not the best ("top1") or not among the best five.

        With fewer than five classes "top5" counts all of them. A mixed image counts as the class
        with the largest share. NaN in the logits is an error.
        """
        if targets.ndim == 2:
            targets = targets.argmax(1)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = best.eq(targets[:, None]) & logits.isfinite().all(1, keepdim=True)
        return {"top1": 1 - right[:, 0].float(), "top5": 1 - right.any(1).float()}
