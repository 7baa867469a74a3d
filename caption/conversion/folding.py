"""Layers of a state dict, and BatchNorm folded into the linear layer that follows it.

In: a state dict in double precision. Out: the weights and biases of our layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = dict[str, Tensor]
BATCH_NORM_EPS = 1e-5


def linear(weights: Mapping[str, Tensor], name: str, bias: Tensor | None = None) -> Weights:
    """The weight and the bias of a layer; `bias` is added to the latter."""
    added = weights[f"{name}.bias"] + (0 if bias is None else bias)
    return {"weight": weights[f"{name}.weight"], "bias": added}


def named(prefix: str, layer: Weights) -> Weights:
    return {f"{prefix}.{key}": value for key, value in layer.items()}


def batch_norm(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """The scale and the shift of a BatchNorm in evaluation."""
    deviation = (weights[f"{name}.running_var"] + BATCH_NORM_EPS).sqrt()
    scale = weights[f"{name}.weight"] / deviation
    return scale, weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale


def fold(layer: Weights, scale: Tensor, shift: Tensor) -> Weights:
    """The layer that gives for x what `layer` gives for scale * x + shift."""
    bias = layer["bias"] + layer["weight"] @ shift
    return {"weight": layer["weight"] * scale, "bias": bias}


def project_regions(weights: Mapping[str, Tensor]) -> tuple[Weights, Tensor, Tensor]:
    """att_embed: its linear layer, and the scale and the shift that follow the ReLU."""
    index = min(i for i in range(2) if weights.get(f"att_embed.{i}.weight", Tensor()).dim() == 2)
    layer = linear(weights, f"att_embed.{index}")
    if index:
        layer = fold(layer, *batch_norm(weights, "att_embed.0"))
    last = f"att_embed.{index + 3}"
    if f"{last}.weight" in weights:
        return layer, *batch_norm(weights, last)
    return layer, torch.ones_like(layer["bias"]), torch.zeros_like(layer["bias"])


def attention(weights: Mapping[str, Tensor], name: str, scale: Tensor, shift: Tensor) -> Weights:
    """ctx2att, h2att and alpha_net as an AdditiveAttention over scale * region + shift."""
    key = fold(linear(weights, "ctx2att", weights[f"{name}.h2att.bias"]), scale, shift)
    return named("attend.key", key) | {
        "attend.query.weight": weights[f"{name}.h2att.weight"],
        "attend.score.weight": weights[f"{name}.alpha_net.weight"],
    }
