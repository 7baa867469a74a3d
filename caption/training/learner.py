"""The network, its optimizer and the moving average of its weights.

In: a decoder, later an encoder too, and losses. Out: optimizer steps; the state for a checkpoint.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from caption.config import TrainConfig
from caption.data.batches import Batch
from caption.models import Decoder
from caption.training import optim
from caption.training.caption_model import CaptionModel, FinetunedEncoder
from caption.training.checkpoint import eval_weights, has_encoder
from caption.training.ngrams import precision
from caption.training.objectives import Objective
from prepro.runtime import distributed
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.precision import autocast_to, training_precision


class Learner:
    def __init__(self, decoder: Decoder, config: TrainConfig, context: DistributedContext) -> None:
        self.config, self.context, self.network = config, context, CaptionModel(decoder)
        self.precision = training_precision(config.precision, context.device)
        self.average: AveragedModel | None = None
        self.ema_warmup = True
        self._new_optimizer()

    @property
    def eval_model(self) -> CaptionModel:
        """The network that is validated and saved: the average of the weights if there is one."""
        return self.average.module if self.average else self.network

    @property
    def checkpoint_size(self) -> int:
        """Bytes of a checkpoint: weights, two moments of each, and perhaps an average."""
        weights = sum(p.numel() * p.element_size() for p in self.network.parameters())
        return weights * (4 if self.average else 3)

    def attach_encoder(self, encoder: FinetunedEncoder) -> None:
        """Train an encoder too, from now on; the decoder keeps its moments and its average."""
        self.network.encoder = encoder
        optim.add_encoder(self.optimizer, encoder)
        old, self.average = self.average, self._new_average()
        if old is not None:
            self.average.module.decoder.load_state_dict(old.module.decoder.state_dict())
            self.average.n_averaged.copy_(old.n_averaged)

    def load_pretrained(self, state: dict, encoder: FinetunedEncoder | None) -> None:
        """Start from the validated weights of a checkpoint, with a new optimizer and average.

        `encoder` is trained from now on, or None; its weights come from the checkpoint if that run
        trained it. RuntimeError if the sizes differ.
        """
        weights = eval_weights(state)
        self.network.encoder = encoder if has_encoder(weights) else None
        self.network.load_state_dict(weights)
        self.network.encoder = encoder
        self._new_optimizer()

    def reset_training(self) -> None:
        """A new optimizer and a new average, for weights that were loaded into the network."""
        self._new_optimizer()

    def wrap(self) -> None:
        """Set up the sum of gradients over processes; after each change of the network."""
        self.parallel = distributed.wrap_for_gradients(self.network, self.context)

    def backward(
        self, objective: Objective, batches: list[Batch], num_tokens: float, epoch: int
    ) -> list[float]:
        """Compute the gradients of a step. Returns the loss and the sums of the objective's
        statistics, of this process.

        The backward pass of the last batch sums the gradients of all processes.
        """
        world, device, results = self.context.world, self.context.device, []
        self.optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            if world > 1:
                self.parallel.require_backward_grad_sync = batch is batches[-1]
            with autocast_to(self.precision, device):
                loss, sums = objective(self.parallel, batch, num_tokens, epoch)
            (loss * world).backward()
            results.append(torch.cat([loss.detach()[None], sums]).to(precision(device)))
        return torch.stack(results).sum(0).tolist()

    def clip(self) -> float:
        """Clip the gradients; returns their norm before clipping."""
        return optim.clip(self.network.parameters(), self.config)

    def step(self) -> None:
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)

    def state(self) -> dict:
        """The state dicts for a checkpoint."""
        parts = {"model": self.network, "optimizer": self.optimizer, "average": self.average}
        states = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return states | {"ema_warmup": self.ema_warmup}

    def load(self, state: dict) -> None:
        """Restore what `state` returned."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema_warmup = state.get("ema_warmup", False)  # earlier versions had no warm-up
        if self.average:
            self.average = self._new_average()
            self.average.load_state_dict(state["average"])

    def _new_optimizer(self) -> None:
        self.optimizer = optim.build(self.network.decoder, self.config)
        if self.network.encoder is not None:
            optim.add_encoder(self.optimizer, self.network.encoder)
        self.average = self._new_average()

    def _new_average(self) -> AveragedModel | None:
        if not self.config.ema:
            return None
        make = warmed_up_ema if self.ema_warmup else get_ema_multi_avg_fn
        return AveragedModel(self.network, multi_avg_fn=make(self.config.ema))


def warmed_up_ema(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """AveragedModel's multi_avg_fn: an exponential moving average whose decay is warmed up.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow. A constant decay
    would keep a share of the initial weights for 1 / (1 - decay) steps.
    """

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    return update
