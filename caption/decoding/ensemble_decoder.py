"""An ensemble of decoders: the mean of their probabilities, token by token.

    model = EnsembleDecoder([a, b], [a_vocabulary, b_vocabulary])
    decode(model, (a_features, b_features), options, a_vocabulary)

The decoders may be of any kind and use features of different encoders; their vocabularies must be
equal. An EnsembleDecoder has the interface of caption.models.base, so every way of decoding works.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from caption.models import Decoder, Features, State, Step
from prepro.vocabulary import Vocabulary


class EnsembleState(NamedTuple):
    """The states of all members, which are reordered together."""

    members: tuple[State, ...]

    @property
    def rows(self) -> tuple[Tensor, ...]:
        return tuple(t for state in self.members for t in state.rows)

    def expand(self, k: int) -> "EnsembleState":
        return EnsembleState(tuple(state.expand(k) for state in self.members))

    def reorder(self, parents: Tensor) -> "EnsembleState":
        return EnsembleState(tuple(state.reorder(parents) for state in self.members))

    def select_images(self, images: Tensor) -> "EnsembleState":
        return EnsembleState(tuple(state.select_images(images) for state in self.members))


class EnsembleDecoder(nn.Module):
    """The arithmetic mean of the members' probabilities."""

    def __init__(self, members: Sequence[Decoder], vocabularies: Sequence[Vocabulary]) -> None:
        """ValueError unless all vocabularies have the same words in the same order."""
        super().__init__()
        first, *others = vocabularies
        for number, other in enumerate(others, 2):
            if other.words != first.words:
                raise ValueError(_difference(first, other, number))
        self.members = nn.ModuleList(members)

    def begin(self, features: Sequence[Features]) -> EnsembleState:
        """One `Features` for each member, of the same images."""
        pairs = zip(self.members, features, strict=True)
        return EnsembleState(tuple(member.begin(own) for member, own in pairs))

    def step(self, tokens: Tensor, state: EnsembleState) -> Step:
        pairs = zip(self.members, state.members, strict=True)
        log_probs, states, attentions = zip(*(m.step(tokens, s) for m, s in pairs), strict=True)
        total = log_probs[0]
        for other in log_probs[1:]:
            total = torch.logaddexp(total, other)
        mean = total - torch.tensor(len(states)).log()
        return Step(mean, EnsembleState(states), _mean_attention(attentions))


def _mean_attention(attentions: Sequence[Tensor | None]) -> Tensor | None:
    """The mean over the members with attention; None if their numbers of regions differ."""
    present = [attention for attention in attentions if attention is not None]
    if not present or len({attention.shape for attention in present}) > 1:
        return None
    return torch.stack(present).mean(0)


def _difference(first: Vocabulary, other: Vocabulary, number: int) -> str:
    if len(first) != len(other):
        difference = f"{len(first):,} words and {len(other):,}"
    else:
        i = next(i for i, word in enumerate(first.words) if word != other.words[i])
        difference = f"word {i + 1} is {first.words[i]!r} and {other.words[i]!r}"
    return f"an ensemble needs runs with one vocabulary; runs 1 and {number} differ: {difference}"
