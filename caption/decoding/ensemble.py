"""Several decoders that speak as one: the mean of their probabilities, word by word.

    model = Ensemble([a, b], [a_vocabulary, b_vocabulary])
    decode(model, (a_features, b_features), options, a_vocabulary)

The decoders may be of any kind and look at features of different encoders; their vocabularies must
agree. An `Ensemble` speaks the protocol of caption.models.base, so all decoding works with it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from caption.models import Decoder, Features, State, Step
from prepro.vocabulary import Vocabulary


class EnsembleState(NamedTuple):
    """The states of the members, which go everywhere together."""

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


class Ensemble(nn.Module):
    """The arithmetic mean of the members' probabilities."""

    def __init__(self, members: Sequence[Decoder], vocabularies: Sequence[Vocabulary]) -> None:
        """ValueError unless all the vocabularies are the same words in the same order."""
        super().__init__()
        first, *others = vocabularies
        for position, other in enumerate(others, 2):
            if other.words != first.words:
                raise ValueError(_difference(first, other, position))
        self.members = nn.ModuleList(members)

    def begin(self, features: Sequence[Features]) -> EnsembleState:
        """One `Features` a member, of the same images."""
        pairs = zip(self.members, features, strict=True)
        return EnsembleState(tuple(member.begin(own) for member, own in pairs))

    def step(self, words: Tensor, state: EnsembleState) -> Step:
        pairs = zip(self.members, state.members, strict=True)
        log_probs, states, looks = zip(*(m.step(words, s) for m, s in pairs), strict=True)
        total = log_probs[0]
        for other in log_probs[1:]:
            total = torch.logaddexp(total, other)
        return Step(total - torch.tensor(len(states)).log(), EnsembleState(states), _mean(looks))


def _mean(looks: Sequence[Tensor | None]) -> Tensor | None:
    """Of those that look, if they look at the same number of regions."""
    seen = [look for look in looks if look is not None]
    if not seen or len({look.shape for look in seen}) > 1:
        return None
    return torch.stack(seen).mean(0)


def _difference(first: Vocabulary, other: Vocabulary, position: int) -> str:
    if len(first) != len(other):
        how = f"{len(first):,} words and {len(other):,}"
    else:
        i = next(i for i, word in enumerate(first.words) if word != other.words[i])
        how = f"word {i + 1} is {first.words[i]!r} and {other.words[i]!r}"
    return f"an ensemble needs one vocabulary, but those of runs 1 and {position} differ: {how}"
