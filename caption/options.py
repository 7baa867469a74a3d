"""The decoding flags that caption.sample and caption.generate share; no torch in here.

What a user leaves out comes from the run's own decoding defaults.
"""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class DecodeFlags:
    beam: int | None = None
    """K, beams of the search; 1 is greedy"""
    n: int | None = None
    """captions a picture, best first"""
    max_length: int | None = None
    """words at most"""

    def over(self, defaults):
        """`defaults`, a caption.decode.DecodeOptions, with the flags that were given."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if "n" in given and given["n"] > given.get("beam", defaults.beam):
            given["beam"] = given["n"]
        return replace(defaults, **given)
