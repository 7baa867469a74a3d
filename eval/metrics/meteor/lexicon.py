"""What METEOR knows of English words: stems, WordNet synonyms, function words, abbreviations.

In: the jar of pycocoevalcap, which is a zip file. Out: a `Lexicon`. No Java runs.

Lavie, Agarwal: METEOR, WMT 2007. Porter: Snowball (the English stemmer). Fellbaum: WordNet, 1998.
"""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)  # the stages, in the order of their matches
# WordNet's rules of detachment: an inflected ending, and the ending of the base form
ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y")),
    *(("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", "")),
    *(("ing", "e"), ("ing", "")),
    *(("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)  # fmt: skip


@dataclass(frozen=True)
class Lexicon:
    """The word lists of the jar."""

    function_words: frozenset[str]
    prefixes: dict[str, bool]  # abbreviations; True for those that only stand before a number
    synsets: dict[str, list[str]]  # by base form
    bases: dict[str, list[str]]  # by irregular form

    def senses(self, word: str) -> set[str]:
        """The synsets of a word and of its base forms."""
        bases = self.bases.get(word) or [self._base(word)]
        return {synset for form in (word, *bases) for synset in self.synsets.get(form, ())}

    def _base(self, word: str) -> str:
        """The base form by the first rule whose result WordNet has."""
        if word.endswith("ss") or len(word) <= 2:
            return word
        for inflected, ending in ENDINGS:
            base = word.removesuffix(inflected) + ending
            if word.endswith(inflected) and base in self.synsets:
                return base
        return ""

    def partners(self, words: Iterable[str]) -> dict[str, dict[str, list[int]]]:
        """By word, the words of the same set that match it, each with the stages that say so."""
        words = sorted(set(words))
        stem = stemmer()
        identity = {word: java_hash(word) for word in words}
        found: dict[str, dict[str, list[int]]] = {word: {} for word in words}
        keys = (
            (EXACT, lambda word: (identity[word],)),
            (STEM, lambda word: (java_hash(stem(word)),)),
            (SYNONYM, self.senses),
        )
        for stage, keys_of in keys:
            groups = defaultdict(list)
            for word in words:
                for key in keys_of(word):
                    groups[key].append(word)
            for group in groups.values():
                for first in group:
                    for second in group:
                        if stage == EXACT or identity[first] != identity[second]:
                            stages = found[first].setdefault(second, [])
                            stages += [stage] if stage not in stages else []
        return found


def java_hash(text: str) -> int:
    """Java's hash of a string, which METEOR compares instead of words (variants is gelato)."""
    value = 0
    data = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(data[::2], data[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value


def read_lexicon(jar: Path) -> Lexicon:
    """The word lists in the jar."""
    with zipfile.ZipFile(jar) as archive:

        def lines(name: str) -> list[str]:
            return archive.read(name).decode("utf-8").splitlines()

        prefixes = {}
        for line in lines("nonbreaking/english.prefixes"):
            if line.strip() and not line.startswith("#"):
                prefix, *rest = line.split()
                prefixes[prefix] = rest[:1] == ["#NUMERIC_ONLY#"]
        synsets = lines("synonym/english.synsets")  # a word, then its synsets on a line
        forms = lines("synonym/english.exceptions")  # a base form, then its irregular forms
        bases = defaultdict(list)
        for base, irregular in zip(forms[::2], forms[1::2], strict=True):
            for form in irregular.split():
                bases[form].append(base)
        return Lexicon(
            frozenset(lines("function/english.words")),
            prefixes,
            {word: ids.split() for word, ids in zip(synsets[::2], synsets[1::2], strict=True)},
            dict(bases),
        )


def stemmer() -> Callable[[str], str]:
    """The stem of an English word, as the jar has it."""
    from snowballstemmer.english_stemmer import EnglishStemmer  # 3.x stems otherwise

    return EnglishStemmer().stemWord
