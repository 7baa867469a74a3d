"""From features to captions: one entry for every decoder and every way of decoding.

    captions = decode(model.eval(), features, DecodeOptions(beam=5), vocabulary, ids=ids)
    vocabulary.sentence(captions[0][0].words)

The loops over whole batches are in `caption.sampling` and `caption.search`, and training calls
those; here their tensors become lists.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from caption.decode_options import DecodeOptions, parse_sampling
from caption.hypotheses import Hypotheses
from caption.models import Decoder, Features
from caption.randomness import image_keys
from caption.sampling import greedy, sample
from caption.search import beam_search
from prepro.text import Vocabulary

__all__ = ["Caption", "DecodeOptions", "decode"]


@dataclass(frozen=True, eq=False)
class Caption:
    """A caption of one image."""

    words: list[int]
    """indices into the vocabulary, without the end"""
    log_prob: float
    """sum of `log_probs`"""
    log_probs: list[float]
    """of each word and of the end; one cut off at the greatest length has no end"""
    attention: Tensor | None = None
    """(len(words), R) on the CPU, where each word's decoder looked"""


def decode(
    model: Decoder,
    features: Features,
    options: DecodeOptions,
    vocabulary: Vocabulary,
    *,
    ids: Sequence[int | str] | None = None,
    seed: int = 0,
    need_attention: bool = False,
) -> list[list[Caption]]:
    """At most `options.n` captions of each image, best first.

    A sample depends on `seed` and its image's id (its place in the batch without `ids`) only.
    """
    assert not model.training, "dropout is on: call model.eval() first"
    if options.sample:
        keys = image_keys(seed, range(len(features.fc)) if ids is None else ids)
        how = parse_sampling(options.sample)
        found = sample(
            model, features, options.n, options.max_length, how, keys, need_attention
        )
    elif options.beam == 1:
        found = greedy(model, features, options.max_length, need_attention)
    else:
        found = beam_search(
            model, features, options.beam, options.max_length, options.n, options.length_rule,
            need_attention,
        )  # fmt: skip
    return [list(captions) for captions in _captions(found)]


def _captions(found: Hypotheses) -> Iterator[Iterator[Caption]]:
    """The rows of the tensors as objects."""
    attention = None if found.attention is None else found.attention.cpu()
    rows = zip(found.words.tolist(), found.log_probs.tolist(), found.scores.tolist(), strict=True)
    for i, (words, log_probs, scores) in enumerate(rows):
        yield (
            _caption(words[j], log_probs[j], None if attention is None else attention[i, j])
            for j in range(len(scores))
            if scores[j] > float("-inf")
        )


def _caption(words: list[int], log_probs: list[float], attention: Tensor | None) -> Caption:
    length = words.index(0) if 0 in words else len(words)
    log_probs = log_probs[: length + 1]
    looked = None if attention is None else attention[:length].clone()
    return Caption(words[:length], sum(log_probs), log_probs, looked)
