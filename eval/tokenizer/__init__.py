"""Captions to words, as the tokenizer of coco-caption's evaluation does it, without Java.

In: a caption. Out: its lower-cased words, without punctuation. One tokenizer serves the training
vocabulary and the scores, and text that `detokenize` writes gives its words back.

The rules (`eval.tokenizer.ptb`) are our own record of what the Penn Treebank tokenizer of Stanford
CoreNLP 3.4.1 does, found by giving it captions and comparing its output; its source was not read.
As there, brackets ("-lrb-"), "&", "%", "!!" and the like count as words.

Two habits of the official tool depend on the order of the captions in its file. A single letter
with a dot at the end of a caption ("plan B.") loses the dot when the *next* caption begins with a
word like "A" or "The"; and a vertical tab, form feed, carriage return or Unicode line separator
inside a caption moves all later captions one image on. Here every caption stands alone;
`tokenize_corpus(captions, coco_exact=True)` reproduces both accidents.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from eval.tokenizer.unicode_classes import SPACE

PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
LINE_END = re.compile("\r\n|[\n\v\f\r\u2028\u2029]")
LETTER_LAST = re.compile(rf"[A-Za-z]\.[{SPACE}]*$")  # "plan B."
MEMO_PIECES = 500_000  # the memo is emptied when it holds so many
MEMO_LETTERS = 40  # a longer piece is not worth remembering

# A piece of text between spaces whose words may depend on its neighbours: "2 1/2", "<a b>",
# "(555) 123 4567", "no. 5", "plan B. The".
LOOKS_AROUND = re.compile(
    r"<|^\d{3}|\(\d|\d\\?[/\u2044]\d|(?<![A-Za-z])[A-Za-z]\.$|(?:art|ca|figs?|nos?|op|pp|prop)\.$",
    re.IGNORECASE,
)

STOPS = frozenset(',;:!?"')
CONTRACTED = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
CLITICS = frozenset(["'s", "'d", "'m", "'ll", "'re", "'ve", "n't"])
BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
GLUES = (" ", "", " , ", "'")  # what may stand between two words
CURLED = {"``": "\u201c", "''": "\u201d", "`": "\u2018", "'": "\u2019"}


def _replaced(table: dict[str, str]) -> Callable[[str], str]:
    pattern = re.compile("|".join(table))
    return lambda word: pattern.sub(lambda found: table[found[0]], word)


# Lower-case words that stand for text which was not: "(", "B&W", "Mass.", "2 1/2", two quotes.
SPELLINGS: tuple[Callable[[str], str], ...] = (
    _replaced(BRACKETS),
    str,
    str.upper,
    str.capitalize,
    _replaced({"\u00a0": " "}),
    _replaced(CURLED),
    lambda word: f"{word},",
    lambda word: f"{word.capitalize()},",
)


class _Memo(dict):
    """The words of each piece of text that stands between spaces; None where they may depend."""

    def __missing__(self, piece: str) -> list[str] | None:
        words = _plain(piece)
        if words is None and piece.isprintable() and not LOOKS_AROUND.search(piece):
            words = _words(scan(piece))
        if len(piece) <= MEMO_LETTERS:
            if len(self) >= MEMO_PIECES:
                self.clear()
            self[piece] = words
        return words


_MEMO = _Memo()


def _plain(piece: str) -> list[str] | None:
    """The quick way for most pieces: nothing but letters, and a mark after them, is one word."""
    letters = piece[:-1] if piece[-1:] in STOPS else piece
    if letters.isascii() and letters.isalpha() and letters.lower() not in CONTRACTED:
        return [letters.lower()]
    return None


def words_alone(piece: str) -> list[str] | None:
    """The words of a piece of text that stands between spaces; None when others may matter.

    Joined, they are what `tokenize` gives for the pieces of `caption.split(" ")` when none is None.
    """
    return _MEMO[piece]


def tokenize(caption: str) -> list[str]:
    """The words of one caption; [] when it has none. Never raises, whatever the text is."""
    words: list[str] = []
    for piece in caption.split(" "):
        known = _MEMO[piece]
        if known is None:
            return _words(scan(caption))
        words += known
    return words


def tokenize_corpus(captions: Sequence[str], coco_exact: bool = False) -> list[list[str]]:
    """The words of many captions, each on its own.

    With `coco_exact` the captions are the lines of one text, as they are to the official tool:
    each line sees the next one, and a line end inside a caption shifts the captions after it.
    """
    if not coco_exact:
        return [tokenize(caption) for caption in captions]
    lines = LINE_END.split("\n".join(caption.replace("\n", " ") for caption in captions))
    following = [*lines[1:], ""]
    return [
        _words(scan(line, after)) if LETTER_LAST.search(line) else tokenize(line)
        for line, after in zip(lines[: len(captions)], following, strict=False)
    ]


def scan(text: str, after: str = "") -> list[str]:
    """`ptb.scan`. Its rules take a quarter of a second to compile; most captions need none."""
    from eval.tokenizer import ptb

    return ptb.scan(text, after)


def _words(tokens: Iterable[str]) -> list[str]:
    return [token for token in tokens if token not in PUNCTUATION]


def detokenize(words: Sequence[str]) -> str:
    """A caption, as a person would write it, that `tokenize` turns into these words again.

    Clitics go back to their words ("the dog 's" is "the dog's") and "-lrb-" is a bracket. Between
    words that would become others side by side goes a comma: "2 , 1/2", which else were one, or an
    apostrophe: "cannot'sa", since "cannot sa" is three words.
    """
    words = list(words)
    text = _joined(words)
    return text if tokenize(text) == words else _carefully_joined(words)


def _joined(words: Sequence[str]) -> str:
    spelled = (word if word in CLITICS else f" {_spelled(word)}" for word in words)
    return "".join(spelled).lstrip(" ")


def _carefully_joined(words: Sequence[str]) -> str:
    """The words with whatever goes between two that keeps the last three what they are."""
    text = ""
    pieces: list[str] = []
    for position, word in enumerate(words):
        before, spelled = "".join(pieces[-2:]), _spelled(word)
        want = list(words[max(position - 2, 0) : position + 1])
        pairs = (glue + spelled for glue in GLUES)
        pieces.append(next((p for p in pairs if tokenize(before + p) == want), f" {spelled}"))
        text += pieces[-1]
    return text.lstrip(" ")


@lru_cache(maxsize=100_000)
def _spelled(word: str) -> str:
    """What to write so that `tokenize` reads this one word; the word itself if nothing helps."""
    for way in SPELLINGS:
        if tokenize(way(word)) == [word]:
            return way(word)
    return word
