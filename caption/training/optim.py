"""The optimizer, its learning rates and the clipping of gradients.

Whatever changes over time is a pure function of the step or the epoch.
"""

from collections.abc import Iterable

import torch
from torch import nn

from caption.config import TrainConfig
from caption.training.progress import Progress


def build(decoder: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay, in one fused kernel for all parameters."""
    groups = [{"params": list(decoder.parameters()), "name": "decoder"}]
    return torch.optim.AdamW(
        groups, config.learning_rate, (0.9, 0.999), 1e-8, config.weight_decay, fused=True
    )


def add_encoder(optimizer: torch.optim.Optimizer, encoder: nn.Module) -> None:
    """Add a group for the trained parameters of an encoder; the decoder keeps its moments."""
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer.add_param_group({"params": trained, "name": "encoder"})


def set_rates(optimizer: torch.optim.Optimizer, rates: dict[str, float]) -> None:
    """Set the learning rate of each group by its name."""
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]]


def learning_rates(config: TrainConfig, progress: Progress) -> dict[str, float]:
    """Linear warm-up over the first steps, then step decay every few epochs.

    The encoder's decay counts from the epoch in which its fine-tuning began. In self-critical
    training both rates are constant.
    """
    if progress.scst:
        return {"decoder": config.scst_learning_rate, "encoder": config.encoder_learning_rate}
    warmup = min(1.0, (progress.step + 1) / config.warmup) if config.warmup else 1.0
    every, epoch = config.decay_every, progress.epoch
    epochs = {"decoder": epoch, "encoder": epoch - progress.stage_epoch}
    decays = {name: count // every for name, count in epochs.items()} if every else {}
    initial = {"decoder": config.learning_rate, "encoder": config.encoder_learning_rate}
    decay = config.decay_rate
    return {name: rate * warmup * decay ** decays.get(name, 0) for name, rate in initial.items()}


def sampling_prob(config: TrainConfig, epoch: int) -> float:
    """Scheduled sampling: it rises by 0.05 every 5 epochs, as in self-critical.pytorch, up to the
    maximum that the config gives."""
    return min(config.scheduled_sampling, 0.05 * (epoch // 5))


def clip(parameters: Iterable[nn.Parameter], config: TrainConfig) -> float:
    """Clip the gradients in place. Returns their norm before clipping, which may not be finite."""
    parameters = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters])
    if config.clip and config.clip_mode == "norm":
        nn.utils.clip_grads_with_norm_(parameters, config.clip, norm)
    elif config.clip:
        for parameter in parameters:  # nn.utils.clip_grad_value_ passes over the gradients twice
            parameter.grad.clamp_(-config.clip, config.clip)
    return float(norm)
