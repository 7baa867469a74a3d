"""The optimiser, and everything about it that changes over time as a pure function of the step."""

import torch
from torch import nn

from caption.config import TrainConfig


def build(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam (decoupled weight decay where asked), one fused kernel for all parameters."""
    return torch.optim.AdamW(
        model.parameters(), config.learning_rate, (0.9, 0.999), 1e-8, config.weight_decay, fused=True
    )


def learning_rate(config: TrainConfig, step: int, epoch: int) -> float:
    """Linear warm-up over the first steps, then a fall every few epochs; both count from 0."""
    rate = config.learning_rate
    if config.decay_every:
        rate *= config.decay_rate ** (epoch // config.decay_every)
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def feed_probability(config: TrainConfig, epoch: int) -> float:
    """Scheduled sampling: 0.05 more every 5 epochs, up to the bound (self-critical.pytorch's)."""
    return min(config.scheduled_sampling, 0.05 * (epoch // 5))


def clip(model: nn.Module, config: TrainConfig) -> float:
    """Bound the gradients in place; their norm before. RuntimeError when one is not finite."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    bound = config.clip if config.clip and config.clip_mode == "norm" else float("inf")
    norm = nn.utils.clip_grad_norm_(parameters, bound, error_if_nonfinite=True)
    if config.clip and config.clip_mode == "value":
        nn.utils.clip_grad_value_(parameters, config.clip)
    return float(norm)
