"""Self-critical training: the gradient of the expected score of the model's own captions.

In: a decoder, a batch, a reward. Out: a loss, and what the samples were like.

    loss = SelfCritical(Reward.of(data.labels, device), data.labels.vocabulary)
    value, statistics = loss(model, batch, tokens)

REINFORCE (Williams 1992) with a baseline that no sample has a part in: the reward of the greedy
caption (Rennie et al. 2017, arXiv 1612.00563) or the mean reward of the image's other samples
(Luo 2020, arXiv 2003.09971). Samples come from one batched decode without a graph; then one
teacher-forced pass over them has the gradient. The policy is the model as it is decoded: without
dropout, which would sample from one network and train another, and without UNK.

B images, K captions of an image in the batch, n samples, T words, V vocabulary.
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
from caption.decoding.sampling import greedy, sample
from caption.models import Decoder, Features
from caption.training.losses import cross_entropy
from caption.training.ngrams import with_end
from caption.training.reward import Reward
from eval.health import BAD_ENDINGS
from prepro.vocabulary import Vocabulary


class Statistics(NamedTuple):
    """Sums over a batch's samples, () on the device: no step waits for them, and those of several
    batches and processes add up."""

    samples: Tensor
    reward: Tensor
    baseline: Tensor
    nll: Tensor
    """nats, of all words and ends"""
    ends: Tensor
    """words and ends"""
    length: Tensor
    """words, without the ends"""
    bad_endings: Tensor
    """samples that stop on a word no sentence ends with (eval.health)"""

    def means(self) -> dict[str, float]:
        """A sample's, but for the entropy: nats a word, as the samples themselves estimate it."""
        means = {
            name: float(getattr(self, name) / self.samples)
            for name in ("reward", "baseline", "length", "bad_endings")
        }
        return means | {"entropy": float(self.nll / self.ends)}


@dataclass(frozen=True, eq=False)
class SelfCritical:
    """The loss of a stage of self-critical training."""

    reward: Reward
    vocabulary: Vocabulary
    samples: int = 5
    """an image"""
    baseline: Literal["leave_one_out", "greedy"] = "leave_one_out"
    cross_entropy: float = 0.0
    """share of cross entropy in the loss, 0..1"""
    max_length: int = 20
    """words of a sample at most, as in decoding"""

    def __post_init__(self) -> None:
        if self.samples < 1 + (self.baseline == "leave_one_out"):
            raise ValueError(f"{self.samples} samples: leave_one_out compares two or more")
        if not 0 <= self.cross_entropy < 1:
            raise ValueError(f"a share of {self.cross_entropy} cross entropy: not in 0..1")

    def __call__(
        self, model: Decoder, batch: Batch, tokens: int | Tensor, keys: Tensor | None = None
    ) -> tuple[Tensor, Statistics]:
        """The loss with its graph, and the samples' statistics.

        `tokens` is the number of real words of the whole step (all accumulated batches, all
        processes), as for `caption.training.losses.cross_entropy`. It normalises both losses, so learning
        rates, clipping and their mix mean the same in both; and since it does not depend on what
        was sampled, the gradient is unbiased. `keys` (B,) int64 are the images' random seeds (see
        `caption.decoding.sampling.sample`): with them a sample is the same however a step is split.
        An image without a real word (a picture that could not be read) counts for nothing.
        """
        with without_dropout(model):
            words = self._draw(model, batch.features, keys)
            rewards = self.reward(batch.rows, words)
            baseline = self._baseline(model, batch, rewards)
            nll = self._nll(model, batch.features, words)
        there = batch.token_mask.flatten(1).any(1)[:, None]  # (B, 1)
        advantage = ((rewards - baseline) * there).to(nll.dtype)
        captions = batch.inputs.shape[1] / self.samples  # n samples stand for K captions
        loss = (advantage * nll.sum(-1)).sum() * captions / tokens
        if self.cross_entropy:
            known = cross_entropy(model, batch, tokens)
            loss = (1 - self.cross_entropy) * loss + self.cross_entropy * known
        return loss, self._statistics(words, rewards, baseline, nll.detach(), there)

    def _draw(self, model: Decoder, features: Features, keys: Tensor | None) -> Tensor:
        """(B, n, T) samples, no longer than the longest with its end."""
        narrow = self._filters(features)
        found = sample(model, features, self.samples, self.max_length, keys=keys, filters=narrow)
        return found.tokens[..., : int(with_end(found.tokens).max())]

    def _baseline(self, model: Decoder, batch: Batch, rewards: Tensor) -> Tensor:
        """(B, 1) or (B, n)"""
        if self.baseline == "leave_one_out":
            return (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)
        best = greedy(model, batch.features, self.max_length, self._filters(batch.features))
        return self.reward(batch.rows, best.tokens)

    def _nll(self, model: Decoder, features: Features, words: Tensor) -> Tensor:
        """(B, n, T) -log p of each word and of the end, 0 after it; has a graph."""
        mask = torch.arange(words.shape[-1], device=words.device) < with_end(words)[..., None]
        hidden = model.teacher_force(features, F.pad(words, (1, 0))[..., :-1], mask).hidden
        logits = model.logits(hidden)  # (words, V + 1)
        if self.vocabulary.unk:
            logits[:, self.vocabulary.unk] = -torch.inf
        found = F.cross_entropy(logits, words[mask], reduction="none")
        return found.new_zeros(words.shape).masked_scatter(mask, found)

    def _filters(self, features: Features) -> list:
        unk = self.vocabulary.unk
        named = [never(torch.tensor([unk], device=features.fc.device))] if unk else []
        return [_drawable, *named]

    def _statistics(
        self, words: Tensor, rewards: Tensor, baseline: Tensor, nll: Tensor, there: Tensor
    ) -> Statistics:
        length = (words != 0).sum(-1)
        last = words.gather(-1, (length - 1).clamp(min=0)[..., None]).squeeze(-1)
        index = self.vocabulary.index
        bad = torch.tensor([index[w] for w in BAD_ENDINGS if w in index], device=words.device)
        each = (  # (B, n), or (B, 1) for the greedy baseline
            torch.ones_like(rewards), rewards, baseline.expand_as(rewards), nll.sum(-1),
            with_end(words), length, torch.isin(last, bad),
        )  # fmt: skip
        return Statistics(*((values * there).sum(dtype=rewards.dtype) for values in each))


def _drawable(log_probs: Tensor, said: Tensor) -> None:
    """Anything at all where the model says NaN: the loss is NaN too, and stops the run."""
    log_probs.masked_fill_(log_probs[..., :1].isnan(), 0)


@contextlib.contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Only dropout off: on a GPU, an LSTM in eval() has no gradient."""
    on = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.training]
    for module in on:
        module.eval()
    try:
        yield
    finally:
        for module in on:
            module.train()
