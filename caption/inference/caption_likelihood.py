"""How likely a model finds given captions of a picture.

    for likelihood in likelihoods(ensemble.model, features, ["a dog runs"], vocabulary)[0]:
        print(likelihood.log_prob, likelihood.unknown)

In: a model, the features of pictures, captions. Out: the log-probability of each caption's words
and of its end, as in decoding.

B images, K captions, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caption.decoding.ensemble_decoder import EnsembleDecoder
from caption.models import Decoder, Features
from eval.tokenizer import tokenize
from prepro.vocabulary import UNK, Vocabulary

MAX_WORDS = 1000  # of a caption


@dataclass(frozen=True)
class CaptionLikelihood:
    """A caption and its log-probability for one picture."""

    text: str
    words: list[str]
    """as the tokenizer gives them; those that the vocabulary has"""
    log_probs: list[float]
    """natural logarithms: of each word, and of the end"""
    unknown: list[str]
    """words that the vocabulary lacks; scored as UNK, or left out where there is no UNK"""

    @property
    def log_prob(self) -> float:
        return sum(self.log_probs)

    @property
    def unknown_share(self) -> float:
        """Share of the caption's words that are unknown."""
        left_out = len(self.unknown) - self.words.count(UNK)
        return len(self.unknown) / max(len(self.words) + left_out, 1)

    def to_dict(self) -> dict:
        """The caption as JSON values."""
        return {
            "caption": self.text, "log_prob": self.log_prob, "words": self.words,
            "log_probs": self.log_probs, "unknown": self.unknown,
            "unknown_share": self.unknown_share,
        }  # fmt: skip


def likelihoods(
    model: Decoder | EnsembleDecoder, features: Features | Sequence[Features],
    texts: Sequence[str], vocabulary: Vocabulary,
) -> list[list[CaptionLikelihood]]:  # fmt: skip
    """The likelihood of each of `texts` for each picture. ValueError for a text that is too long.

    An ensemble takes one `features` for each member.
    """
    words = [tokenize(text) for text in texts]
    indices = [vocabulary.encode(caption) for caption in words]
    longest = max(map(len, indices))
    if longest > MAX_WORDS:
        raise ValueError(f"a caption of {longest:,} words; at most {MAX_WORDS:,} are scored")
    device = (features if isinstance(features, Features) else features[0]).fc.device
    tokens = torch.zeros(len(texts), longest + 1, dtype=torch.long, device=device)
    for row, ids in enumerate(indices):
        tokens[row, : len(ids)] = torch.tensor(ids, device=device)
    found = _log_probs(model, features, tokens).tolist()
    unknown = [[word for word in caption if word not in vocabulary.index] for caption in words]
    return [
        [
            CaptionLikelihood(text, vocabulary.decode(ids), own[: len(ids) + 1], lacking)
            for text, ids, own, lacking in zip(texts, indices, rows, unknown, strict=True)
        ]
        for rows in found
    ]


def _log_probs(
    model: Decoder | EnsembleDecoder, features: Features | Sequence[Features], tokens: Tensor
) -> Tensor:
    """(B, K, T) log-probabilities of `tokens` (K, T), in which 0 is the end."""
    found = []
    with torch.inference_mode():
        state = model.begin(features)
        images = state.rows[0].shape[0]
        state = state.expand(len(tokens))
        previous = torch.zeros_like(tokens[:, 0]).expand(images, -1)
        for column in tokens.unbind(1):
            step = model.step(previous, state)
            previous, state = column.expand(images, -1), step.state
            found.append(step.log_probs.gather(-1, previous[..., None])[..., 0])
    return torch.stack(found, -1)
