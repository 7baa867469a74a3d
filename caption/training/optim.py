"""The optimiser, and everything about it that changes over time as a pure function of the step."""

from collections.abc import Iterable

import torch
from torch import nn

from caption.config import TrainConfig
from caption.training.stages import Progress


def build(decoder: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam (decoupled weight decay where asked), one fused kernel for all parameters."""
    groups = [{"params": list(decoder.parameters()), "name": "decoder"}]
    return torch.optim.AdamW(
        groups, config.learning_rate, (0.9, 0.999), 1e-8, config.weight_decay, fused=True
    )


def add_encoder(optimizer: torch.optim.Optimizer, encoder: nn.Module) -> None:
    """A second group for what learns in the encoder; the decoder keeps its moments."""
    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer.add_param_group({"params": learning, "name": "encoder"})


def set_rates(optimizer: torch.optim.Optimizer, rates: dict[str, float]) -> None:
    """By the groups' names."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


def learning_rates(config: TrainConfig, progress: Progress) -> dict[str, float]:
    """Linear warm-up over the first steps, then a fall every few epochs; both count from 0.

    The encoder's falls count from the epoch when its fine-tuning began. In self-critical training
    both are constant.
    """
    if progress.scst:
        return {"decoder": config.scst_learning_rate, "encoder": config.encoder_learning_rate}
    warm = min(1.0, (progress.step + 1) / config.warmup) if config.warmup else 1.0
    every, epoch = config.decay_every, progress.epoch
    since = {"decoder": epoch, "encoder": epoch - progress.stage_epoch}
    falls = {name: epochs // every for name, epochs in since.items()} if every else {}
    tops = {"decoder": config.learning_rate, "encoder": config.encoder_learning_rate}
    decay = config.decay_rate
    return {name: top * warm * decay ** falls.get(name, 0) for name, top in tops.items()}


def sampling_prob(config: TrainConfig, epoch: int) -> float:
    """Scheduled sampling: 0.05 more every 5 epochs, up to the bound (self-critical.pytorch's)."""
    return min(config.scheduled_sampling, 0.05 * (epoch // 5))


def clip(parameters: Iterable[nn.Parameter], config: TrainConfig) -> float:
    """Bound the gradients in place; the norm of all before that, which may be NaN or infinite."""
    parameters = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters])
    if config.clip and config.clip_mode == "norm":
        nn.utils.clip_grads_with_norm_(parameters, config.clip, norm)
    elif config.clip:
        nn.utils.clip_grad_value_(parameters, config.clip)
    return float(norm)
