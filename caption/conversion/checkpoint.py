"""A checkpoint of self-critical.pytorch as one of our decoders.

In: model.pth and infos_ID.pkl. Out: an EarlierModel: the decoder, its words and how it decoded.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from caption import models
from caption.config import RANGES
from caption.conversion.restricted_pickle import load_infos
from caption.conversion.weights import convert, option
from caption.decoding.options import DecodeOptions
from caption.models import Decoder, Shape
from eval.files import first_line

LOADER = {
    "norm_att_feat": "it was trained with --norm_att_feat 1: divide each region by its length "
    "before prepro.adopt",
    "use_box": "it was trained with --use_box 1: append each region's box and its area, as "
    "fractions of the picture, before prepro.adopt",
}
"""options by which that system changes stored features when it reads them"""


@dataclass(frozen=True, eq=False)
class EarlierModel:
    name: str
    """what that system calls it"""
    decoder_name: str
    decoder: Decoder
    words: tuple[str, ...]
    decoding: DecodeOptions
    """that system's defaults: as many words as it was trained on, and UNK forbidden"""
    notes: tuple[str, ...] = ()
    """what its loader did to stored features, which nothing here does"""


def read_checkpoint(
    checkpoint: Path, infos: Path, dtype: torch.dtype = torch.float32
) -> EarlierModel:
    """The decoder with weights of `dtype`; sums of weights are rounded to it once.

    FileNotFoundError, or ValueError for files that hold no model that we have.
    """
    values = load_infos(infos)
    opt = values["opt"]
    words = _words(values.get("vocab") or getattr(opt, "vocab", None), infos)
    weights = _state_dict(checkpoint)
    try:
        found = convert(weights, opt)
        shape = _shape(found.sizes, opt, len(words) + 1)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None
    try:
        decoder = models.build(found.decoder, shape).to(dtype)
        decoder.load_state_dict(found.weights)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{checkpoint}: does not fit the options of {infos} ({reason})") from None
    length = option(opt, "max_length", 0) or option(opt, "seq_length", 16)
    decoding = DecodeOptions(max_length=int(length), suppress_unk="UNK" in words)
    notes = tuple(text for name, text in LOADER.items() if option(opt, name, 0))
    return EarlierModel(opt.caption_model, found.decoder, decoder.eval(), words, decoding, notes)


def _words(vocabulary: object, infos: Path) -> tuple[str, ...]:
    """The words of {"1": word, "2": word, ...}."""
    if not isinstance(vocabulary, Mapping):
        raise ValueError(f"{infos}: has no vocabulary")
    found = tuple(vocabulary.get(str(i)) for i in range(1, len(vocabulary) + 1))
    if not found or not all(isinstance(word, str) and word for word in found):
        raise ValueError(f"{infos}: its vocabulary is not {{'1': word, '2': word, ...}}")
    return found


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        raise ValueError(f"{path}: not a state dict ({first_line(error)})") from None
    if not isinstance(found, dict) or not all(isinstance(t, torch.Tensor) for t in found.values()):
        raise ValueError(f"{path}: not a state dict of tensors")
    return found


def _shape(sizes: dict, opt: Namespace, classes: int) -> Shape:
    """ValueError for sizes that are missing or out of range."""
    is_transformer = "feed_forward" in sizes
    embedding = option(opt, "input_encoding_size", 512)
    embedding = option(opt, "d_model", embedding) if is_transformer else embedding
    hidden = embedding if is_transformer else option(opt, "rnn_size", 512)
    uses_fc = opt.caption_model in ("newfc", "fc", "show_tell")
    features = option(opt, "fc_feat_size" if uses_fc else "att_feat_size", 2048)
    values = {
        "embedding": embedding, "hidden": hidden, "layers": option(opt, "num_layers", 1), **sizes
    }  # fmt: skip
    for name in [name for name in values if name in RANGES]:
        value, (low, high) = values[name], RANGES[name]
        kind = float if name == "norm_eps" else int
        if not (isinstance(value, kind) and low <= value <= high):
            raise ValueError(f"the option {name} is {value!r}, expected {low} to {high}")
    dropout = float(option(opt, "dropout" if is_transformer else "drop_prob_lm", 0.5))
    return Shape(classes, int(features), dropout=dropout, **values)
