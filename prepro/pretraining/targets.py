"""What a network is taught: its loss and its errors, apart from the loop that trains it.

In: logits (B, C) and targets. Out: a loss, and the errors of each picture.
Anything with the methods of Classes can be taught; the words of captions are another.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Classes:
    """One class a picture: cross entropy, top-1 and top-5 errors (fb.resnet.torch's measures)."""

    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.names)

    def soft(self, targets: Tensor) -> Tensor:
        """Class numbers (B,) as probabilities (B, C), which MixUp can mix."""
        return F.one_hot(targets, self.outputs).float()

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy; targets are class numbers (B,) or probabilities (B, C)."""
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def errors(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """For each picture 1.0 where the class is not the best, or not among the best five.

        With fewer than five classes, "top5" looks at all there are. A mixed picture counts as the
        class that it has most of. NaN in the logits is an error.
        """
        if targets.ndim == 2:
            targets = targets.argmax(1)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        right = best.eq(targets[:, None]) & logits.isfinite().all(1, keepdim=True)
        return {"top1": 1 - right[:, 0].float(), "top5": 1 - right.any(1).float()}
