"""Decoding options as plain values, for command lines and model files.

Free of torch, so that --help answers at once. `caption.decoding.decode` uses them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

OLD_NAMES = {"no_repeat": "block_repeats", "no_bad_endings": "block_bad_endings"}
"""of options, in files that earlier versions wrote"""
LengthRule = Literal["none", "avg", "wu"]
RANGES = {
    "beam": (1, 1000), "max_length": (1, 1000), "n": (1, 1000), "groups": (1, 1000),
    "min_length": (0, 1000), "diversity": (0, 1000),
}  # fmt: skip

# Words after which `block_bad_endings` forbids the end. The metric in eval.caption_statistics uses
# the shorter list of self-critical.pytorch, so that its numbers compare with published ones.
FORBIDDEN_ENDINGS = (
    "a", "an", "the", "this", "that", "his", "her", "its", "their", "and", "or", "of", "in", "on",
    "at", "to", "for", "from", "with", "by", "near", "into", "onto", "is", "are",
)  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How a token is sampled from the model's distribution."""

    temperature: float = 1.0
    """divisor of the log-probabilities: below 1 favours likely words, above 1 gives more variety"""
    top_k: int = 0
    """sample among the k most likely words only; 0: all"""
    top_p: float = 1.0
    """sample among the fewest words whose probabilities sum to top_p (nucleus sampling)"""
    gumbel: bool = False
    """sample different captions, without replacement (stochastic beam search)"""

    def __post_init__(self) -> None:
        if not 0.01 <= self.temperature <= 100:
            raise ValueError(f"sample: temperature={self.temperature:g} must be 0.01 to 100")
        if self.top_k < 0:
            raise ValueError(f"sample: top-k={self.top_k} must be 0 (all words) or more")
        if not 0.001 <= self.top_p <= 1:
            raise ValueError(f"sample: top-p={self.top_p:g} must be 0.001 to 1")
        if self.gumbel and (self.temperature, self.top_k, self.top_p) != (1, 0, 1):
            raise ValueError("sample: gumbel cannot be combined with temperature, top-k or top-p")


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
    """Decoding options of one caption."""

    beam: int = 3
    """beam width: hypotheses kept at each step; 1 is greedy decoding"""
    max_length: int = 20
    """maximal number of words"""
    min_length: int = 0
    """minimal number of words"""
    length_rule: LengthRule = "none"
    """length normalisation of log-probabilities in a search: avg divides by the length, wu by
    ((5 + length) / 6) ** 0.7 as GNMT does; none favours short captions"""
    sample: str = ""
    """sample words instead of searching: temperature=T, top-k=K, top-p=P, joined by commas; or
    gumbel: n different captions, sampled without replacement"""
    n: int = 1
    """captions of each picture"""
    groups: int = 1
    """groups of diverse beam search; each avoids the words of the earlier groups"""
    diversity: float = 0.5
    """penalty of diverse beam search, in nats, for each beam of an earlier group that has chosen
    the word at this step"""
    consensus: bool = False
    """rank captions by their expected CIDEr-D against the other candidates (minimum Bayes risk)"""
    suppress_unk: bool = True
    """never output UNK, the token for rare words"""
    block_repeats: bool = False
    """forbid the same word twice in a row"""
    block_trigrams: bool = False
    """forbid the same three words in a row a second time"""
    block_bad_endings: bool = False
    """forbid an end after words such as "a", "the" or "with\""""
    must: tuple[str, ...] = ()
    """words that the caption must contain, at most four; each doubles the beams"""
    never: tuple[str, ...] = ()
    """words that the caption must not contain"""

    def __post_init__(self) -> None:
        for name in ("must", "never"):  # JSON, which a run is stored as, has lists only
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_ranges()
        if self.sample:
            self._check_sampling(parse_sampling(self.sample))
        elif self.n > self.beam:
            raise ValueError(
                f"n is {self.n}, but a beam of {self.beam} has fewer captions; raise --beam"
            )
        if self.beam % self.groups:
            raise ValueError(f"groups: {self.groups} groups cannot share {self.beam} beams evenly")
        if self.groups > 1 and self.must:
            raise ValueError("groups and must do not go together; choose one of them")

    @classmethod
    def from_stored(cls, values: dict) -> "DecodeOptions":
        """From the values of a file, which may have OLD_NAMES."""
        return cls(**{OLD_NAMES.get(name, name): value for name, value in values.items()})

    def _check_ranges(self) -> None:
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {low} to {high:,}")
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
