"""How a timm model's last map lies in memory, and which weights make it.

In: a timm model. Out: a Layout, found by one pass on the meta device, which takes shapes and no
memory; the map (B, D, h, w) of what forward_features returned.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eval.files import first_line

MAX_PREFIX = 16  # class, register and distillation tokens before those of the patches


@dataclass(frozen=True)
class Layout:
    """Of what forward_features returns for images (B, 3, H, W)."""

    kind: Literal["channels first", "channels last", "tokens"]
    dim: int
    prefix: int = 0
    """tokens before those of the patches"""

    def as_map(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, D, h, w). ValueError for tokens that no grid of the image's proportions has."""
        if self.kind == "channels first":
            return x
        if self.kind == "channels last":
            return x.permute(0, 3, 1, 2)
        patches = x.shape[1] - self.prefix
        rows = max(1, round(math.sqrt(patches * height / width)))
        if patches % rows:
            raise ValueError(f"{patches} patches of an image of {height} x {width} are no grid")
        grid = x[:, self.prefix :].mT.unflatten(2, (rows, patches // rows))
        return grid.contiguous()


class _Features(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)


def find_layout(model: nn.Module) -> Layout:
    """ValueError, in one line, for a model whose features are no single map or row of tokens."""
    try:
        found = _dry_run(model, {})
    except Exception as error:  # a model raises what it likes
        raise ValueError(f"its features cannot be computed ({first_line(error)})") from None
    if not isinstance(found, Tensor) or found.dim() not in (3, 4):
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"forward_features returns no map and no tokens ({what})")
    shape, dim = found.shape[1:], int(model.num_features)
    if len(shape) == 3 and shape[0] != dim and shape[2] != dim:
        dim = shape[0]
    if len(shape) == 3:
        return Layout("channels first" if shape[0] == dim else "channels last", dim)
    known = getattr(model, "num_prefix_tokens", 0)
    prefixes = [known, *range(MAX_PREFIX)] if isinstance(known, int) else range(MAX_PREFIX)
    for prefix in prefixes:
        patches = shape[0] - prefix
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return Layout("tokens", shape[1], prefix)
    raise ValueError(f"forward_features returns {shape[0]} tokens, which are no square grid")


def unused_weights(model: nn.Module) -> list[str]:
    """The names of the parameters that do not change forward_features: those of the head."""
    weights = {name: _on_meta(p).requires_grad_() for name, p in model.named_parameters()}
    with torch.enable_grad():
        total = _dry_run(model, weights).sum()
        grads = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return [name for name, grad in zip(weights, grads, strict=True) if grad is None]


def _dry_run(model: nn.Module, weights: Mapping[str, Tensor]) -> object:
    """forward_features of one image, on the meta device, or on the model's own if that fails."""
    size = model.pretrained_cfg.get("input_size") or (3, 224, 224)
    was_training = model.training
    model.eval()
    try:
        tensors = {name: _on_meta(t) for name, t in (*model.named_parameters(),
                                                     *model.named_buffers())}  # fmt: skip
        tensors = {f"model.{name}": t for name, t in {**tensors, **weights}.items()}
        with torch.set_grad_enabled(bool(weights)):
            try:
                return functional_call(
                    _Features(model), tensors, (torch.empty(1, *size, device="meta"),)
                )
            except Exception:  # tensors that are no buffers, operators without shapes
                if weights or next(model.parameters()).is_meta:
                    raise
                return model.forward_features(torch.zeros(1, *size))
    finally:
        model.train(was_training)


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta", requires_grad=False)
