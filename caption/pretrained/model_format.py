"""model.safetensors: one portable file that captions images.

It holds the weights of the decoder, those of the encoder unless they can be downloaded by name, and
in its header the sizes, the vocabulary, the encoder's transform, the decoding defaults and the
training config. It is read without pickle and needs no other file. Weights may be stored as
float16; they are float32 once read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from caption import models
from caption.config import NORMS, REGION_PROJECTIONS
from caption.decoding.options import OLD_NAMES, RANGES, DecodeOptions, LengthRule
from caption.models import Decoder, Shape
from caption.models.compatibility import rename_weights
from caption.pretrained import MODELS
from eval.files import require_readable, whole_file
from eval.schema import boolean, integer, items, mapping, number, one_of, text
from prepro.runtime.meta_device import meta_device

VERSION = 1
HEADER = ("version", "decoder", "shape", "words", "encoder", "regions", "decoding", "run")
_SHAPE = {
    "classes": integer(2, 10_000_000), "features": integer(1, 65_536),
    "embedding": integer(1, 16_384), "hidden": integer(1, 16_384), "layers": integer(1, 64),
    "heads": integer(1, 1024), "regions": integer(0, 65_536), "dropout": number(0, 1),
}  # fmt: skip
_MORE_SHAPE = {
    "position_std": number(0, 1000), "attention": integer(0, 16_384),
    "decoder_layers": integer(0, 64), "feed_forward": integer(0, 65_536),
    "norm_eps": number(0, 1), "norm": one_of(NORMS),
    "region_projection": one_of(REGION_PROJECTIONS), "sentinel_layers": boolean,
}  # fmt: skip
"""sizes that files of earlier versions lack"""
_ENCODER = {
    "encoder": text(200, printable=True), "weights": text(1000, printable=True),
    "sha256": text(64), "public": boolean,
}  # fmt: skip
_DECODING = {
    **{name: integer(*limits) for name, limits in RANGES.items()},
    "diversity": number(*RANGES["diversity"]), "length_rule": one_of(get_args(LengthRule)),
    "sample": text(100), "must": items(text(100), 4), "never": items(text(100), 10_000),
    **dict.fromkeys(
        (
            "consensus", "suppress_unk", "block_repeats", "block_trigrams", "block_bad_endings",
            *OLD_NAMES,
        ),
        boolean,
    ),
}  # fmt: skip
SCHEMA = mapping(
    {
        "version": integer(VERSION, VERSION),
        "decoder": one_of(tuple(models.DECODERS)),
        "shape": mapping(_SHAPE, _MORE_SHAPE),
        "words": items(text(1000, printable=True), 10_000_000),
        "encoder": mapping(_ENCODER, more=True),
        "regions": integer(0, 256),
        "decoding": mapping({}, _DECODING),
        "run": mapping({"config": mapping({}, {"data": text()}, more=True)}, more=True),
    }
)
"""of the header's values"""


def write_model(
    path: Path, decoder: Decoder, words: Sequence[str], encoder: dict,
    encoder_tensors: dict[str, Tensor], regions: int, decoding: DecodeOptions, run: dict,
    halves: bool = False,
) -> None:  # fmt: skip
    """Write the file, whole or not at all; with `halves`, weights as float16.

    `encoder` is Encoder.metadata() with public, weights and sha256; `encoder_tensors` its state
    dict, or {} for weights that can be downloaded by name.
    """
    name = next(name for name, kind in models.DECODERS.items() if type(decoder) is kind)
    values = (
        VERSION, name, asdict(decoder.shape), list(words), encoder, regions, asdict(decoding), run,
    )  # fmt: skip
    header = {key: json.dumps(value) for key, value in zip(HEADER, values, strict=True)}
    tensors = {f"decoder.{k}": v for k, v in decoder.state_dict().items()}
    tensors |= {f"encoder.{k}": v for k, v in encoder_tensors.items()}
    if halves:
        tensors = {key: as_half(value) for key, value in tensors.items()}
    with whole_file(path) as partial:
        try:
            save_file(
                {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, header
            )
        except SafetensorError as error:  # a full disk, say
            raise OSError(f"{path}: cannot be written ({error})") from None


def read_model(path: Path) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
    """The header, the decoder's tensors and the encoder's.

    FileNotFoundError, or ValueError for a file that is not a captioning model.
    """
    header = read_header(path)
    try:
        with safe_open(path, "pt") as file:
            _require_fit(header, file, path)
            tensors = {key: _single(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    return header, _with_prefix("decoder.", tensors), _with_prefix("encoder.", tensors)


def read_header(path: Path) -> dict:
    """The header alone, without reading the weights; errors as in read_model."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such model; train one with python -m caption.train"
            + "".join(f", or give --run {name}" for name in MODELS)
        )
    require_readable(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    missing = [key for key in HEADER if key not in metadata]
    if missing:
        raise ValueError(f"{path}: not a captioning model; its header lacks {missing[0]!r}")
    try:
        header = {key: json.loads(metadata[key]) for key in HEADER}
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: the header is not JSON") from None
    if header["version"] != VERSION:
        raise ValueError(f"{path}: version {header['version']}, this code reads {VERSION}")
    SCHEMA(header, str(path))
    if len(set(header["words"])) != len(header["words"]):
        raise ValueError(f"{path}: the vocabulary has a word twice")
    if header["shape"]["classes"] != len(header["words"]) + 1:
        raise ValueError(
            f"{path}: {len(header['words'])} words for {header['shape']['classes']} classes; "
            "one more class than words is expected"
        )
    return header


def _require_fit(header: dict, file: safe_open, path: Path) -> None:
    """ValueError unless the decoder's tensors have the names and the sizes that the header gives.

    No memory is taken for sizes that the file does not have.
    """
    try:
        with meta_device():
            wanted = models.build(header["decoder"], Shape(**header["shape"])).state_dict()
    except Exception as error:  # heads that do not divide the width, say
        raise ValueError(f"{path}: no {header['decoder']} has these sizes ({error})") from None
    prefix = "decoder."
    names = {key for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    found = rename_weights(
        {key.removeprefix(prefix): file.get_slice(key).get_shape() for key in names}
    )
    for name, tensor in wanted.items():
        if found.get(name) != list(tensor.shape):
            raise ValueError(
                f"{path}: decoder.{name} has the sizes {found.get(name)}, expected "
                f"{list(tensor.shape)}"
            )
    if found.keys() - wanted.keys():
        raise ValueError(f"{path}: unexpected decoder.{min(found.keys() - wanted.keys())}")


def as_half(tensor: Tensor) -> Tensor:
    """As float16, unless it holds integers or a value too large for that."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(half.isfinite().all()) else tensor


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
