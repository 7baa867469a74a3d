"""What a caption may not say: filters of log-probabilities that combine freely.

A filter gets the log-probabilities of the next word and what each hypothesis has said so far, and
writes -inf over what it forbids, in place. The words that remain keep their log-probabilities, so
a caption's score is the model's own. `filters` makes them from options.

B batch, K hypotheses, t words so far, V vocabulary.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from caption.decoding.options import DecodeOptions
from prepro.vocabulary import UNK, Vocabulary

Filter = Callable[[Tensor, Tensor], None]
"""log-probabilities (B, K, V + 1) and words (B, K, t)"""

BAD_ENDINGS = (
    "a", "an", "the", "this", "that", "his", "her", "its", "their", "and", "or", "of", "in", "on",
    "at", "to", "for", "from", "with", "by", "near", "into", "onto", "is", "are",
)  # fmt: skip


def forbid(filters: Sequence[Filter], log_probs: Tensor, said: Tensor) -> None:
    """Apply all of the filters. A hypothesis that they leave nothing to say ends."""
    end = log_probs[..., 0].clone()
    for narrow in filters:
        narrow(log_probs, said)
    stuck = log_probs[..., 0] == -torch.inf
    if stuck.any():
        stuck &= log_probs.amax(-1) == -torch.inf
        log_probs[..., 0] = torch.where(stuck, end, log_probs[..., 0])


def never(words: Tensor) -> Filter:
    """None of these `words` (n,)."""

    def narrow(log_probs: Tensor, said: Tensor) -> None:
        log_probs[..., words] = -torch.inf

    return narrow


def at_least(length: int) -> Filter:
    """No end before `length` words."""

    def narrow(log_probs: Tensor, said: Tensor) -> None:
        if said.shape[-1] < length:
            log_probs[..., 0] = -torch.inf

    return narrow


def no_repeat(log_probs: Tensor, said: Tensor) -> None:
    """Not the same word twice in a row, self-critical.pytorch's decoding_constraint."""
    if said.shape[-1]:
        log_probs.scatter_(-1, said[..., -1:], -torch.inf)


def no_trigram_twice(log_probs: Tensor, said: Tensor) -> None:
    """No three words that stand in the caption already, in this order."""
    if said.shape[-1] < 3:
        return
    again = (said[..., :-2] == said[..., -2:-1]) & (said[..., 1:-1] == said[..., -1:])
    blocked = torch.zeros_like(said[..., 2:], dtype=log_probs.dtype)
    log_probs.scatter_add_(-1, said[..., 2:], blocked.masked_fill(again, -torch.inf))


def no_ending(words: Tensor, max_length: int) -> Filter:
    """No end after these `words` (n,), and none of them as the last that there is room for."""

    def narrow(log_probs: Tensor, said: Tensor) -> None:
        if said.shape[-1] == max_length - 1:
            log_probs[..., words] = -torch.inf
        if said.shape[-1]:
            log_probs[..., 0].masked_fill_(torch.isin(said[..., -1], words), -torch.inf)

    return narrow


def filters(
    options: DecodeOptions, vocabulary: Vocabulary, device: torch.device | str
) -> list[Filter]:
    """The filters that `options` ask for. ValueError for a word that is not in the vocabulary."""
    unwanted = word_indices(options.never, vocabulary, "never")
    if options.suppress_unk and vocabulary.unk:
        if UNK in options.must:
            raise ValueError(f"must: {UNK} is never said with suppress_unk")
        unwanted.append(vocabulary.unk)
    endings = [vocabulary.index[word] for word in BAD_ENDINGS if word in vocabulary.index]
    chosen: list[Filter] = []
    if unwanted:
        chosen.append(never(torch.tensor(unwanted, device=device)))
    if options.min_length:
        chosen.append(at_least(options.min_length))
    if options.no_repeat:
        chosen.append(no_repeat)
    if options.block_trigrams:
        chosen.append(no_trigram_twice)
    if options.no_bad_endings and endings:
        chosen.append(no_ending(torch.tensor(endings, device=device), options.max_length))
    return chosen


def word_indices(words: Iterable[str], vocabulary: Vocabulary, option: str) -> list[int]:
    """Indices of words that a user asked for."""
    for word in words:
        if word not in vocabulary.index:
            near = difflib.get_close_matches(word, vocabulary.words, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{option}: {word!r} is not a word that the model knows{hint}")
    return [vocabulary.index[word] for word in words]
