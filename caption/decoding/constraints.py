"""Constraints on captions: filters of log-probabilities, which can be combined.

A filter gets the log-probabilities of the next token and the tokens of each hypothesis so far, and
sets those of forbidden tokens to -inf, in place. The other tokens keep their log-probabilities, so
the score of a caption is the model's. `filters` makes the filters that options ask for.

B batch, K hypotheses, t tokens so far, V vocabulary.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from caption.decoding.options import FORBIDDEN_ENDINGS, DecodeOptions
from prepro.vocabulary import UNK, Vocabulary

Filter = Callable[[Tensor, Tensor], None]
"""log-probabilities (B, K, V + 1) and tokens (B, K, t)"""


def forbid(filters: Sequence[Filter], log_probs: Tensor, history: Tensor) -> None:
    """Apply all filters. A hypothesis for which they leave no token ends."""
    end = log_probs[..., 0].clone()
    for apply in filters:
        apply(log_probs, history)
    stuck = log_probs[..., 0] == -torch.inf
    if stuck.any():
        stuck &= log_probs.amax(-1) == -torch.inf
        log_probs[..., 0] = torch.where(stuck, end, log_probs[..., 0])


def never(words: Tensor) -> Filter:
    """Forbid the tokens `words` (n,)."""

    def apply(log_probs: Tensor, history: Tensor) -> None:
        log_probs[..., words] = -torch.inf

    return apply


def at_least(length: int) -> Filter:
    """Forbid the end token before `length` tokens."""

    def apply(log_probs: Tensor, history: Tensor) -> None:
        if history.shape[-1] < length:
            log_probs[..., 0] = -torch.inf

    return apply


def block_repeats(log_probs: Tensor, history: Tensor) -> None:
    """Forbid the same token twice in a row; decoding_constraint in self-critical.pytorch."""
    log_probs.scatter_(-1, history[..., -1:], -torch.inf)


def no_trigram_twice(log_probs: Tensor, history: Tensor) -> None:
    """Forbid a trigram that the caption already contains."""
    repeats = (history[..., :-2] == history[..., -2:-1]) & (history[..., 1:-1] == history[..., -1:])
    blocked = torch.zeros_like(history[..., 2:], dtype=log_probs.dtype)
    log_probs.scatter_add_(-1, history[..., 2:], blocked.masked_fill(repeats, -torch.inf))


def no_ending(words: Tensor, max_length: int) -> Filter:
    """Forbid an end after the tokens `words` (n,), and these tokens at the last step."""

    def apply(log_probs: Tensor, history: Tensor) -> None:
        if history.shape[-1] == max_length - 1:
            log_probs[..., words] = -torch.inf
        if history.shape[-1]:
            log_probs[..., 0].masked_fill_(torch.isin(history[..., -1], words), -torch.inf)

    return apply


def filters(
    options: DecodeOptions, vocabulary: Vocabulary, device: torch.device | str
) -> list[Filter]:
    """The filters that `options` ask for. ValueError for a word that is not in the vocabulary."""
    unwanted = word_indices(options.never, vocabulary, "never")
    if options.suppress_unk and vocabulary.unk:
        if UNK in options.must:
            raise ValueError(f"must: {UNK} cannot be required while suppress_unk is on")
        unwanted.append(vocabulary.unk)
    endings = [vocabulary.index[word] for word in FORBIDDEN_ENDINGS if word in vocabulary.index]
    chosen: list[Filter] = []
    if unwanted:
        chosen.append(never(torch.tensor(unwanted, device=device)))
    if options.min_length:
        chosen.append(at_least(options.min_length))
    if options.block_repeats:
        chosen.append(block_repeats)
    if options.block_trigrams:
        chosen.append(no_trigram_twice)
    if options.block_bad_endings and endings:
        chosen.append(no_ending(torch.tensor(endings, device=device), options.max_length))
    return chosen


def word_indices(words: Iterable[str], vocabulary: Vocabulary, option: str) -> list[int]:
    """The vocabulary indices of words; ValueError for an unknown word."""
    for word in words:
        if word not in vocabulary.index:
            near = difflib.get_close_matches(word, vocabulary.words, 1, 0.75)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{option}: {word!r} is not a word that the model knows{hint}")
    return [vocabulary.index[word] for word in words]
