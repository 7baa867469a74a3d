"""From features to captions: one function for every decoder and every decoding method.

    captions = decode(model.eval(), features, DecodeOptions(beam=5), vocabulary, ids=ids)
    captions[0][0].text

The loops over whole batches are in `caption.decoding.sampling` and `caption.decoding.search`, which
training calls directly. Here options choose among them, and their tensors become Captions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caption.decoding.beams import BankedBeams, Beams, DiverseBeams, GumbelBeams
from caption.decoding.consensus import expected_scores
from caption.decoding.constraints import filters, word_indices
from caption.decoding.ensemble_decoder import EnsembleDecoder
from caption.decoding.greedy import greedy
from caption.decoding.hypotheses import Hypotheses
from caption.decoding.options import DecodeOptions, parse_sampling
from caption.decoding.rng import image_keys
from caption.decoding.sampling import sample
from caption.decoding.search import beam_search
from caption.models import Decoder, Features
from eval.metrics.document_frequencies import Frequencies
from eval.tokenizer import detokenize
from prepro.vocabulary import Vocabulary

__all__ = ["Caption", "DecodeOptions", "decode"]


@dataclass(frozen=True, eq=False)
class Caption:
    """A caption of one image."""

    words: list[str]
    """without the end token"""
    token_ids: list[int]
    """the words as indices into the vocabulary"""
    log_prob: float
    """sum of `log_probs`"""
    log_probs: list[float]
    """of each token and of the end token; a caption cut off at the maximal length has no end"""
    attention: Tensor | None = None
    """(len(words), R) on the CPU, the attention weights when each word was chosen"""

    @property
    def text(self) -> str:
        """The caption as a sentence."""
        return detokenize(self.words)

    def __repr__(self) -> str:
        return f"Caption({self.text!r}, log_prob={self.log_prob:.3f})"

    def to_dict(self) -> dict:
        """The caption as JSON values."""
        return {
            "caption": self.text,
            "log_prob": self.log_prob,
            "words": self.words,
            "log_probs": self.log_probs,
        }


def decode(
    model: Decoder | EnsembleDecoder,
    features: Features | Sequence[Features],
    options: DecodeOptions,
    vocabulary: Vocabulary,
    *,
    ids: Sequence[int | str] | None = None,
    seed: int = 0,
    need_attention: bool = False,
    frequencies: Frequencies | None = None,
) -> list[list[Caption]]:
    """At most `options.n` captions of each image, best first.

    An ensemble takes one `features` for each member. A sample depends only on `seed` and the id of
    its image (its index in the batch without `ids`). `frequencies`, those of the training captions,
    weight the n-grams of `options.consensus`. ValueError for a word in must or never that is not in
    the vocabulary, and if no caption can contain all words of must.
    """
    assert not model.training, "dropout is on: call model.eval() first"
    fc = features.fc if isinstance(features, Features) else features[0].fc
    keys = image_keys(seed, range(len(fc)) if ids is None else ids).to(fc.device)
    found = _decode(model, features, options, vocabulary, keys, need_attention)
    captions = [list(_captions(found, image, vocabulary)) for image in range(len(fc))]
    if not all(captions):
        if not all(t.isfinite().all() for t in model.parameters()):
            raise RuntimeError("the decoder's weights are not finite: NaN or infinity")
        length = options.max_length
        raise ValueError(f"must: no caption of at most {length} words contains all these words")
    if options.consensus:
        captions = _by_consensus(captions, options, frequencies)
    elif options.sample:  # a search already returns the best caption first
        captions = [sorted(group, key=lambda c: -c.log_prob) for group in captions]
    return [group[: options.n] for group in captions]


def _decode(
    model: Decoder | EnsembleDecoder, features: Features | Sequence[Features],
    options: DecodeOptions, vocabulary: Vocabulary, keys: Tensor, need_attention: bool,
) -> Hypotheses:  # fmt: skip
    """The candidates, by the method that the options ask for."""
    length = options.max_length
    shared = filters(options, vocabulary, keys.device), need_attention
    sampling = parse_sampling(options.sample) if options.sample else None
    if sampling and not sampling.gumbel:
        return sample(model, features, options.n, length, sampling, keys, *shared)
    required = word_indices(options.must, vocabulary, "must")
    if options.beam == 1 and not required and not sampling:
        return greedy(model, features, length, *shared)
    if sampling:
        beams: Beams = GumbelBeams(options.n, keys)
    elif required:
        beams = BankedBeams(options.beam, torch.tensor(required, device=keys.device))
    elif options.groups > 1:
        beams = DiverseBeams(options.beam, options.groups, options.diversity)
    else:
        beams = Beams(options.beam)
    n = options.beam if options.consensus and not sampling else options.n
    return beam_search(model, features, beams, length, n, options.length_rule, *shared)


def _captions(found: Hypotheses, image: int, vocabulary: Vocabulary) -> Iterator[Caption]:
    """The captions of one image; fewer than n if the search found fewer."""
    attention = None if found.attention is None else found.attention[image].cpu()
    rows = (t[image].tolist() for t in (found.tokens, found.log_probs, found.scores))
    for index, (tokens, log_probs, score) in enumerate(zip(*rows, strict=True)):
        if score > -math.inf:
            length = tokens.index(0) if 0 in tokens else len(tokens)
            log_probs = log_probs[: length + 1]
            attended = None if attention is None else attention[index, :length].clone()
            ids = tokens[:length]
            yield Caption(vocabulary.decode(ids), ids, sum(log_probs), log_probs, attended)


def _by_consensus(
    captions: list[list[Caption]], options: DecodeOptions, frequencies: Frequencies | None
) -> list[list[Caption]]:
    """Sorted by expected CIDEr-D. Samples all have the same weight, since they are drawn from the
    model's distribution."""
    words = [[caption.words for caption in group] for group in captions]
    weights = []
    for group in captions:
        log_probs = torch.tensor([0.0 if options.sample else c.log_prob for c in group])
        weights.append(log_probs.softmax(0).tolist())
    scores = expected_scores(words, weights, frequencies)
    order = [sorted(range(len(s)), key=lambda i, s=s: -s[i]) for s in scores]
    return [[group[i] for i in ranks] for group, ranks in zip(captions, order, strict=True)]
