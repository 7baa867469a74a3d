"""What learns in a run: the network, its optimiser and the average of its weights.

In: a decoder, later an encoder too, and losses. Out: steps; what a checkpoint keeps, and back.
"""

import contextlib

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from caption.config import TrainConfig
from caption.data.batches import Batch
from caption.models import Decoder
from caption.training import optim
from caption.training.caption_model import CaptionModel, FinetunedEncoder
from caption.training.ngrams import precision
from caption.training.objectives import Objective
from prepro.encoders.memory import autocast
from prepro.runtime import distributed
from prepro.runtime.distributed import DistributedContext


class Learner:
    def __init__(self, decoder: Decoder, config: TrainConfig, context: DistributedContext) -> None:
        self.config, self.context, self.network = config, context, CaptionModel(decoder)
        self._begin()

    @property
    def eval_model(self) -> CaptionModel:
        """What is validated and kept: the average of the weights where there is one."""
        return self.average.module if self.average else self.network

    def attach_encoder(self, encoder: FinetunedEncoder) -> None:
        """Put an encoder before the decoder, whose moments and average stay."""
        self.network.encoder = encoder
        optim.add_encoder(self.optimizer, encoder)
        old, self.average = self.average, self._averaged()
        if old is not None:
            self.average.module.decoder.load_state_dict(old.module.decoder.state_dict())
            self.average.n_averaged.copy_(old.n_averaged)

    def load_pretrained(self, state: dict, encoder: FinetunedEncoder | None) -> None:
        """Begin anew from the weights that a checkpoint kept: no moments, no average yet.

        `encoder` is the encoder to train from now on, which takes its weights from the checkpoint too
        if it was trained there. RuntimeError when the sizes differ.
        """
        weights = eval_weights(state)
        self.network.encoder = encoder if has_encoder(weights) else None
        self.network.load_state_dict(weights)
        self.network.encoder = encoder
        self._begin()

    def wrap(self) -> None:
        """Before the first step and after each change: processes agree on what they add up."""
        self.parallel = distributed.wrap_for_gradients(self.network, self.context)

    def backward(
        self, objective: Objective, batches: list[Batch], tokens: float, epoch: int
    ) -> list[float]:
        """The gradients of a step; the loss and the objective's sums, of this process.

        The last batch's backward pass adds up the gradients of all processes.
        """
        world, device, found = self.context.world, self.context.device, []
        self.optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            if world > 1:
                self.parallel.require_backward_grad_sync = batch is batches[-1]
            with _autocast(device):
                loss, sums = objective(self.parallel, batch, tokens, epoch)
            (loss * world).backward()
            found.append(torch.cat([loss.detach()[None], sums]).to(precision(device)))
        return torch.stack(found).sum(0).tolist()

    def clip(self) -> float:
        """Bound the gradients; their norm before that."""
        return optim.clip(self.network.parameters(), self.config)

    def step(self) -> None:
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)

    def state(self) -> dict:
        """For a checkpoint."""
        parts = {"model": self.network, "optimizer": self.optimizer, "average": self.average}
        return {name: part.state_dict() for name, part in parts.items() if part is not None}

    def load(self, state: dict) -> None:
        """Stand where `state` was taken."""
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])

    def _begin(self) -> None:
        self.optimizer = optim.build(self.network.decoder, self.config)
        if self.network.encoder is not None:
            optim.add_encoder(self.optimizer, self.network.encoder)
        self.average = self._averaged()

    def _averaged(self) -> AveragedModel | None:
        if not self.config.ema:
            return None
        return AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema))


def eval_weights(state: dict) -> dict[str, Tensor]:
    """The network's weights that were validated when the checkpoint was taken."""
    average = {
        name.removeprefix("module."): tensor for name, tensor in state.get("average", {}).items()
    }
    average.pop("n_averaged", None)
    return average or state["model"]


def has_encoder(weights: dict[str, Tensor]) -> bool:
    """Whether there is an encoder among them."""
    return any(name.startswith("encoder.") for name in weights)


def _autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Mixed precision on a GPU; float32 elsewhere, so that a CPU repeats a run to the bit."""
    return autocast(device) if device.type == "cuda" else contextlib.nullcontext()
