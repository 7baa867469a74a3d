"""Captions to words, as the tokenizer of coco-caption's evaluation does it, without Java.

In: a caption. Out: its lower-cased words, without punctuation. One tokenizer serves the training
vocabulary and the scores.

The rules are our own record of what the Penn Treebank tokenizer of Stanford CoreNLP 3.4.1 does with
captions, found by giving it captions and looking at what comes back; its source was not read. At
each place of the caption the rule with the longest match wins, the earlier one on a tie; a match
may be longer than the token it gives, where it looks ahead.

Two habits of the official tool depend on the order of the file. A single letter with a dot at the
end of a caption ("plan B.") loses the dot when the *next* caption begins with a capitalised
sentence starter; and a vertical tab, form feed, carriage return or Unicode line separator inside a
caption moves all later captions one image on. Here every caption stands alone;
`tokenize_corpus(captions, coco_exact=True)` reproduces both.
"""

import re
from collections.abc import Sequence

from eval.ptb import scan

PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
MEMO_WORDS = 1_000_000  # the memo is emptied when it holds so many
MEMO_LETTERS = 40  # of a piece of text that is worth remembering
LINE_ENDS = re.compile("\r\n|[\n\v\f\r\u2028\u2029]")

# What stands between spaces and gives the same words whatever stands around it: words with or
# without a clitic, then punctuation. A letter and a dot, digits and brackets may look around.
ALONE = re.compile(r"(?:[A-Za-z]{2,}(?:['-][A-Za-z]{2,})*|[A-Za-z])(?:'[a-z]{1,2})?[,;:!?]?|[A-Za-z]{2,}\.")


class Memo(dict):
    """Remembers the words of pieces of text that need no context; None for the others."""

    def __missing__(self, piece: str) -> tuple[str, ...] | None:
        if len(self) >= MEMO_WORDS:
            self.clear()
        known = words(scan(piece)) if ALONE.fullmatch(piece) or not piece else None
        if len(piece) <= MEMO_LETTERS:
            self[piece] = known
        return known


MEMO = Memo()


def tokenize(caption: str) -> list[str]:
    """The words of one caption; [] for one without words. Never raises, whatever the text."""
    try:
        return [word for piece in caption.split(" ") for word in MEMO[piece]]
    except TypeError:  # a piece whose words depend on its neighbours
        return words(scan(caption))


def tokenize_corpus(captions: Sequence[str], coco_exact: bool = False) -> list[list[str]]:
    """The words of many captions, each on its own.

    With `coco_exact` the captions are one text, as they are to the official tool: the next caption
    is seen when a caption ends, and a line end inside a caption shifts the ones after it.
    """
    if not coco_exact:
        return [tokenize(caption) for caption in captions]
    lines = LINE_ENDS.split("\n".join(caption.replace("\n", " ") for caption in captions))
    after = [*lines[1:], ""]
    found = [words(scan(line, following)) for line, following in zip(lines, after, strict=True)]
    return found[: len(captions)]


def words(tokens: list[str]) -> list[str]:
    """The tokens that are no punctuation."""
    return [token for token in tokens if token not in PUNCTUATION]


def detokenize(tokens: Sequence[str]) -> str:
    """A caption of these words; tokenising it gives them back."""
    return " ".join(tokens)
