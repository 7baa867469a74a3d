"""The decoding flags that commands share. What a user leaves out, the run's own defaults give.

Free of torch. The values mean what they mean in caption.decode_options.DecodeOptions.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

from caption.decode_options import DecodeOptions


@dataclass(frozen=True)
class DecodeFlags:
    beam: int | None = None
    """K, hypotheses of the search; 1 is greedy"""
    n: int | None = None
    """captions a picture, best first"""
    max_length: int | None = None
    """words at most"""
    min_length: int | None = None
    """words at least"""
    length_rule: Literal["none", "avg", "wu"] | None = None
    """divide log-probabilities by the length (avg) or GNMT's penalty (wu)"""
    sample: str | None = None
    """draw words instead: temperature=0.8,top-k=5,top-p=0.9 (any of these), or gumbel"""
    groups: int | None = None
    """diverse beam search: groups of beams that avoid each other's words"""
    diversity: float | None = None
    """cost of a word that an earlier group has just said, in nats"""
    consensus: bool = False
    """put first the caption that the others agree with most (minimum Bayes risk, CIDEr-D)"""
    block_trigrams: bool = False
    """no three words in a row a second time"""
    no_repeat: bool = False
    """no word twice in a row"""
    no_bad_endings: bool = False
    """do not stop after words like "a" or "with\""""
    must: tuple[str, ...] = ()
    """words that the caption has to say"""
    never: tuple[str, ...] = ()
    """words that it may not say"""

    def over(self, defaults: DecodeOptions) -> DecodeOptions:
        """`defaults` with what was given; more captions than beams means as many beams."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value not in (None, False, ())}
        if given.get("n", 1) > given.get("beam", defaults.beam) and "sample" not in given:
            given["beam"] = given["n"]
        return replace(defaults, **given)
