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

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from caption import models
from caption.decoding.options import DecodeOptions
from caption.models import Decoder
from caption.pretrained import MODELS
from eval.files import whole_file

VERSION = 1
HEADER = ("version", "decoder", "shape", "words", "encoder", "regions", "decoding", "run")


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
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, header)


def read_model(path: Path) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
    """The header, the decoder's tensors and the encoder's.

    FileNotFoundError, or ValueError for a file that is not a captioning model.
    """
    header = read_header(path)
    try:
        with safe_open(path, "pt") as file:
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
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    missing = [key for key in HEADER if key not in metadata]
    if missing:
        raise ValueError(f"{path}: not a captioning model; its header lacks {missing[0]!r}")
    header = {key: json.loads(metadata[key]) for key in HEADER}
    if header["version"] != VERSION:
        raise ValueError(f"{path}: version {header['version']}, this code reads {VERSION}")
    return header


def as_half(tensor: Tensor) -> Tensor:
    """As float16, unless it holds integers or a value too large for that."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if bool(half.isfinite().all()) else tensor


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
