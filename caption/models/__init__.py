"""The decoders: one paper, one file each. The name of --decoder is the name of the file.

A new decoder is a new file in this folder that defines one subclass of `Decoder`; README shows an
example under "Add a decoder".
"""

import difflib
import importlib

from caption.config import DECODERS as NAMES
from caption.models.base import Decoder, DecoderOutput, Features, Shape, State, Step

__all__ = ["DECODERS", "Decoder", "DecoderOutput", "Features", "Shape", "State", "Step", "build"]


def _decoder_class(name: str) -> type[Decoder]:
    module = importlib.import_module(f"caption.models.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Decoder)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise ImportError(
            f"{module.__file__} must define one subclass of Decoder, not {len(classes)}"
        )
    return classes[0]


DECODERS: dict[str, type[Decoder]] = {name: _decoder_class(name) for name in NAMES}


def build(name: str, shape: Shape) -> Decoder:
    """An untrained decoder. ValueError for an unknown name, with the nearest one."""
    if name not in DECODERS:
        near = difflib.get_close_matches(name, DECODERS, 1, 0) or list(DECODERS)
        raise ValueError(f"no decoder {name!r}; nearest: {near[0]}; all: {', '.join(DECODERS)}")
    return DECODERS[name](shape)
