"""Self-critical training: the gradient of the expected score of the model's own captions.

In: a decoder, a batch, a reward. Out: a loss, and statistics of the samples.

    criterion = SelfCritical(Reward.of(data.labels, device), data.labels.vocabulary)
    loss, statistics = criterion(model, batch, num_tokens)

REINFORCE (Williams 1992) with a baseline that does not depend on the sample: the reward of the
greedy caption (Rennie et al. 2017, arXiv 1612.00563) or the mean reward of the image's other
samples (Luo 2020, arXiv 2003.09971). The samples come from one batched decode without a graph; one
teacher-forced pass over them has the gradient. The policy is the model as it is decoded: without
UNK, and without dropout, with which one network would be sampled and another trained.

B images, K captions of an image in the batch, n samples, T tokens, V vocabulary.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.data.batches import Batch
from caption.decoding.constraints import never
from caption.decoding.greedy import greedy
from caption.decoding.sampling import sample
from caption.models import Decoder, Features
from caption.training.losses import cross_entropy
from caption.training.ngrams import with_end
from caption.training.reward import Reward
from caption.training.token_losses import token_losses
from eval.caption_statistics import BAD_ENDINGS
from prepro.vocabulary import Vocabulary


class Statistics(NamedTuple):
    """Sums over a batch's samples, () on the device.

    They are added up over batches and processes, and no step waits for the device to read them.
    """

    samples: Tensor
    reward: Tensor
    baseline: Tensor
    nll: Tensor
    """nats, of all tokens, the end tokens included"""
    num_tokens: Tensor
    """the end tokens included"""
    length: Tensor
    """tokens, the end tokens not included"""
    bad_endings: Tensor
    """samples that end on a word that ends no sentence (eval.caption_statistics)"""

    def means(self) -> dict[str, float]:
        """Means over the samples; the entropy, in nats a token, is estimated from the samples."""
        means = {
            name: float(getattr(self, name) / self.samples)
            for name in ("reward", "baseline", "length", "bad_endings")
        }
        return means | {"entropy": float(self.nll / self.num_tokens)}


@dataclass(frozen=True, eq=False)
class SelfCritical:
    """The loss of a stage of self-critical training."""

    reward: Reward
    vocabulary: Vocabulary
    samples: int = 5
    """of each image"""
    baseline: Literal["leave_one_out", "greedy"] = "leave_one_out"
    cross_entropy: float = 0.0
    """share of cross entropy in the loss, 0..1"""
    max_length: int = 20
    """of a sample, in tokens"""

    def __post_init__(self) -> None:
        if self.samples < 1 + (self.baseline == "leave_one_out"):
            raise ValueError(
                f"--scst-samples {self.samples}: the baseline leave_one_out needs two or more"
            )
        if not 0 <= self.cross_entropy < 1:
            raise ValueError(
                f"--scst-cross-entropy {self.cross_entropy}: expected 0 or more and below 1"
            )

    def __call__(
        self, model: Decoder, batch: Batch, num_tokens: int | Tensor, keys: Tensor | None = None
    ) -> tuple[Tensor, Statistics]:
        """The loss with its graph, and the samples' statistics.

        `num_tokens` counts the tokens of the whole step, as for
        `caption.training.losses.cross_entropy`. It normalises both losses, so that learning rates,
        clipping and the weighted sum of both mean the same; it does not depend on the samples, so
        the gradient is unbiased. `keys` (B,) int64 are the images' random seeds (see
        `caption.decoding.sampling.sample`): with them a sample is the same however a step is split.
        An image whose tokens are all masked (it could not be read) has no influence.
        """
        with without_dropout(model):
            tokens = self._draw(model, batch.features, keys)
            rewards = self.reward(batch.rows, tokens)
            baseline = self._baseline(model, batch, rewards)
            nll = self._nll(model, batch.features, tokens)
        is_valid = batch.token_mask.flatten(1).any(1)[:, None]  # (B, 1)
        advantage = ((rewards - baseline) * is_valid).to(nll.dtype)
        captions = batch.inputs.shape[1] / self.samples  # n samples stand for K captions
        loss = (advantage * nll.sum(-1)).sum() * captions / num_tokens
        if self.cross_entropy:
            supervised = cross_entropy(model, batch, num_tokens)
            loss = (1 - self.cross_entropy) * loss + self.cross_entropy * supervised
        return loss, self._statistics(tokens, rewards, baseline, nll.detach(), is_valid)

    def _draw(self, model: Decoder, features: Features, keys: Tensor | None) -> Tensor:
        """Samples (B, n, T), cut after the longest one."""
        filters = self._filters(features)
        found = sample(model, features, self.samples, self.max_length, keys=keys, filters=filters)
        return found.tokens[..., : int(with_end(found.tokens).max())]

    def _baseline(self, model: Decoder, batch: Batch, rewards: Tensor) -> Tensor:
        """(B, 1) or (B, n)"""
        if self.baseline == "leave_one_out":
            return (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        best = greedy(model, batch.features, self.max_length, self._filters(batch.features))
        return self.reward(batch.rows, best.tokens)

    def _nll(self, model: Decoder, features: Features, tokens: Tensor) -> Tensor:
        """-log p of each token and of the end token, (B, n, T), 0 after it; has a graph."""
        mask = torch.arange(tokens.shape[-1], device=tokens.device) < with_end(tokens)[..., None]
        hidden = model.teacher_force(features, F.pad(tokens, (1, 0))[..., :-1], mask).hidden
        logits = model.logits(hidden)  # (tokens, V + 1)
        if self.vocabulary.unk:
            logits[:, self.vocabulary.unk] = -torch.inf
        found = token_losses(logits, tokens[mask])
        return found.new_zeros(tokens.shape).masked_scatter(mask, found)

    def _filters(self, features: Features) -> list:
        unk = self.vocabulary.unk
        return [never(torch.tensor([unk], device=features.fc.device))] if unk else []

    def _statistics(
        self, tokens: Tensor, rewards: Tensor, baseline: Tensor, nll: Tensor, is_valid: Tensor
    ) -> Statistics:
        length = (tokens != 0).sum(-1)
        last = tokens.gather(-1, (length - 1).clamp(min=0)[..., None]).squeeze(-1)
        index = self.vocabulary.index
        bad = torch.tensor([index[w] for w in BAD_ENDINGS if w in index], device=tokens.device)
        each = (  # (B, n), or (B, 1) for the greedy baseline
            torch.ones_like(rewards), rewards, baseline.expand_as(rewards), nll.sum(-1),
            with_end(tokens), length, torch.isin(last, bad),
        )  # fmt: skip
        return Statistics(*((values * is_valid).sum(dtype=rewards.dtype) for values in each))


@contextlib.contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Switch off dropout only: on a GPU, an LSTM in eval mode has no gradient."""
    active = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.training]
    for module in active:
        module.eval()
    try:
        yield
    finally:
        for module in active:
            module.train()
