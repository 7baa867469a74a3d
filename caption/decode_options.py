"""How captions are decoded: plain values, for command lines and for the file of a run.

Free of torch, so that a command's --help answers at once. `caption.decode` does the work.
"""

from dataclasses import dataclass
from typing import Literal

LengthRule = Literal["none", "avg", "wu"]


@dataclass(frozen=True)
class Sampling:
    """How a word is drawn from the model's distribution."""

    temperature: float = 1.0
    """divides the log-probabilities: below 1 is bolder, above 1 more varied"""
    top_k: int = 0
    """only among the k likeliest words; 0 is all"""
    top_p: float = 1.0
    """only among the fewest words that have this probability together"""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"sample: temperature={self.temperature:g} must be above 0")
        if self.top_k < 0:
            raise ValueError(f"sample: top-k={self.top_k} must be 0 (all words) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sample: top-p={self.top_p:g} must be above 0 and at most 1")


def parse_sampling(text: str) -> Sampling:
    """ "temperature=0.8,top-k=5" as `Sampling`; ValueError names what it does not understand."""
    kinds = {"temperature": float, "top-k": int, "top-p": float}
    values = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            values[name.replace("-", "_")] = kinds[name](value)
        except (KeyError, ValueError):
            meant = "temperature=T, top-k=K and top-p=P, joined by commas"
            raise ValueError(f"sample: {part.strip()!r} is none of {meant}") from None
    return Sampling(**values)


@dataclass(frozen=True)
class DecodeOptions:
    """How captions are decoded."""

    beam: int = 3
    """hypotheses kept at each step; 1 is greedy"""
    max_length: int = 20
    """words at most"""
    length_rule: LengthRule = "none"
    """divide a caption's log-probability by its length (avg), or by GNMT's ((5 + length) / 6) to
    the power of 0.7 (wu), before captions are compared; none favours short ones"""
    sample: str = ""
    """draw words at random instead: "temperature=1", "top-k=5", "top-p=0.9", or several of these
    joined by commas"""
    n: int = 1
    """captions an image"""

    def __post_init__(self) -> None:
        for name in ("beam", "max_length", "n"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.length_rule not in ("none", "avg", "wu"):
            raise ValueError(f"length rule {self.length_rule!r} is none of none, avg, wu")
        if self.sample:
            parse_sampling(self.sample)
        elif self.n > self.beam:
            raise ValueError(f"n is {self.n}, but a beam of {self.beam} holds fewer captions")
