"""The decoders by name: one paper, one file each; caption.models.base has the protocol."""

import difflib

from caption.models.adaptive import Adaptive
from caption.models.att2in import Att2in
from caption.models.base import Decoder, DecoderOutput, Features, Shape, State, Step
from caption.models.newfc import NewFC
from caption.models.show_attend_tell import ShowAttendTell
from caption.models.show_tell import ShowTell
from caption.models.topdown import TopDown
from caption.models.transformer import Transformer

__all__ = ["DECODERS", "Decoder", "Features", "DecoderOutput", "Shape", "State", "Step", "build"]

DECODERS: dict[str, type[Decoder]] = {
    "show_tell": ShowTell,
    "newfc": NewFC,
    "show_attend_tell": ShowAttendTell,
    "att2in": Att2in,
    "adaptive": Adaptive,
    "topdown": TopDown,
    "transformer": Transformer,
}


def build(name: str, shape: Shape) -> Decoder:
    """An untrained decoder. ValueError for an unknown name, with the nearest."""
    if name not in DECODERS:
        near = difflib.get_close_matches(name, DECODERS, 1, 0) or list(DECODERS)
        raise ValueError(f"no decoder {name!r}; nearest: {near[0]}; all: {', '.join(DECODERS)}")
    return DECODERS[name](shape)
