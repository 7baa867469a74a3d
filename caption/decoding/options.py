"""How captions are decoded: plain values, for command lines and for the file of a run.

Free of torch, so that a command's --help answers at once. `caption.decoding.decode` does the work.
"""

from dataclasses import dataclass
from typing import Literal, get_args

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
    gumbel: bool = False
    """different captions, drawn without replacement"""

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"sample: temperature={self.temperature:g} must be above 0")
        if self.top_k < 0:
            raise ValueError(f"sample: top-k={self.top_k} must be 0 (all words) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sample: top-p={self.top_p:g} must be above 0 and at most 1")
        if self.gumbel and (self.temperature, self.top_k, self.top_p) != (1, 0, 1):
            raise ValueError("sample: gumbel draws from the model's distribution as it is, alone")


def parse_sampling(text: str) -> Sampling:
    """ "temperature=0.8,top-k=5" as `Sampling`; ValueError names what it does not understand."""
    kinds = {"temperature": float, "top-k": int, "top-p": float}
    values = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            values[name.replace("-", "_")] = name == part.strip() == "gumbel" or kinds[name](value)
        except (KeyError, ValueError):
            meant = "temperature=T, top-k=K, top-p=P (joined by commas) or gumbel"
            raise ValueError(f"sample: {part.strip()!r} is not {meant}") from None
    return Sampling(**values)


@dataclass(frozen=True)
class DecodeOptions:
    """How captions are decoded."""

    beam: int = 3
    """hypotheses kept at each step; 1 is greedy"""
    max_length: int = 20
    """words at most"""
    min_length: int = 0
    """words at least"""
    length_rule: LengthRule = "none"
    """divide a caption's log-probability by its length (avg), or by GNMT's ((5 + length) / 6) to
    the power of 0.7 (wu), before captions are compared; none favours short ones"""
    sample: str = ""
    """draw words at random instead of searching: temperature=T, top-k=K, top-p=P, or several of
    these joined by commas; or gumbel: n different captions, drawn without replacement"""
    n: int = 1
    """captions an image"""
    groups: int = 1
    """diverse beam search: groups of beams that avoid each other's words"""
    diversity: float = 0.5
    """what a word costs for each beam of an earlier group that has just said it, in nats"""
    consensus: bool = False
    """put first the caption that the others agree with most, by CIDEr-D (minimum Bayes risk)"""
    suppress_unk: bool = True
    """never say UNK"""
    no_repeat: bool = False
    """no word twice in a row"""
    block_trigrams: bool = False
    """no three words in a row a second time"""
    no_bad_endings: bool = False
    """do not stop after words like "a", "the" or "with\""""
    must: tuple[str, ...] = ()
    """words that the caption has to say, four at most; each doubles the beams"""
    never: tuple[str, ...] = ()
    """words that it may not say"""

    def __post_init__(self) -> None:
        for name in ("must", "never"):  # JSON, which a run is stored as, has lists only
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_ranges()
        if self.sample:
            self._check_sampling(parse_sampling(self.sample))
        elif self.n > self.beam:
            raise ValueError(f"n is {self.n}, but a beam of {self.beam} holds fewer captions")
        if self.beam % self.groups:
            raise ValueError(f"groups: {self.groups} groups cannot share {self.beam} beams evenly")
        if self.groups > 1 and self.must:
            raise ValueError("groups and must do not go together; choose one of them")

    def _check_ranges(self) -> None:
        for name, least in (
            ("beam", 1), ("max_length", 1), ("n", 1), ("groups", 1), ("min_length", 0),
            ("diversity", 0),
        ):  # fmt: skip
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {least} or more")
        if self.length_rule not in get_args(LengthRule):
            raise ValueError(f"length_rule {self.length_rule!r} is none of none, avg, wu")
        if max(self.min_length, len(self.must)) > self.max_length:
            raise ValueError(f"max_length {self.max_length} has no room for min_length and must")
        if len(set(self.must)) > 4 or len(set(self.must)) < len(self.must):
            raise ValueError("must takes at most four words, all different")
        both = set(self.must) & set(self.never)
        if both:
            raise ValueError(f"{min(both)!r} is in must and in never")

    def _check_sampling(self, sampling: Sampling) -> None:
        if self.must or self.groups > 1:
            raise ValueError(f"{'must' if self.must else 'groups'} needs a search, not sample")
        if sampling.gumbel and self.length_rule != "none":
            raise ValueError("length_rule has no meaning with sample gumbel")
