"""The folder of an exported captioner: captioner.json, read and checked without torch.

captioner.json says what the graphs do not: the words, how a picture becomes pixels, the defaults of
decoding, where the weights come from and what their terms are, and how large the graphs are.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from caption.decoding.options import FORBIDDEN_ENDINGS, OLD_NAMES, RANGES, DecodeOptions, LengthRule
from eval.files import read_json, write_json
from eval.schema import boolean, integer, items, mapping, number, one_of, text
from eval.tokenizer import detokenize
from prepro.transform import SCHEMA as TRANSFORM
from prepro.transform import Transform

FILE_NAME = "captioner.json"
VERSION = 1
SUPPORTED = (
    "beam", "max_length", "min_length", "length_rule", "n", "suppress_unk", "block_repeats",
    "block_trigrams", "block_bad_endings",
)  # fmt: skip
"""the fields of DecodeOptions that the search in numpy knows"""
GRAPHS, FORMATS = ("encoder", "begin", "step"), ("onnx", "pt2")
_FILE = mapping({"bytes": integer(1, 2**40), "integrity": text(100)})
_DECODING = {
    **{name: integer(*RANGES[name]) for name in ("beam", "max_length", "min_length", "n")},
    "length_rule": one_of(get_args(LengthRule)),
}
SCHEMA = mapping(
    {
        "version": integer(VERSION, VERSION),
        "words": items(text(1000, printable=True), 10_000_000),
        "spelling": mapping({}, more=True),
        "bad_endings": items(integer(1, 10_000_000), 1000),
        "end_token": integer(0, 0),
        "transform": TRANSFORM,
        "regions": integer(0, 256),
        "extent": mapping({"start": number(-8192, 8192), "length": number(0, 16_384)}),
        "state": mapping({"image": integer(0, 1000), "rows": integer(1, 1000)}),
        "decoding": mapping(_DECODING, dict.fromkeys((*SUPPORTED[5:], *OLD_NAMES), boolean)),
        "about": mapping({"name": text(), "description": text()}, more=True),
        "files": mapping({}, {f"{graph}.{form}": _FILE for graph in GRAPHS for form in FORMATS}),
    }
)


@dataclass(frozen=True)
class Manifest:
    """The content of captioner.json."""

    words: tuple[str, ...]
    """words[i] is token i + 1; token 0 begins and ends a caption"""
    transform: Transform
    regions: int
    """the side of the grid of regions; 0 without attention"""
    extent: tuple[float, float]
    """where the regions begin along a side of the crop, and how far they reach, in pixels"""
    image_tensors: int
    """tensors of the state that belong to the picture"""
    row_tensors: int
    """tensors of the state that belong to each hypothesis"""
    decoding: DecodeOptions
    about: dict
    """the model, its training data, its encoder and the terms of their weights"""
    files: dict[str, dict]
    """the size and the hash of each graph, as file_facts returns them"""


def file_facts(path: Path) -> dict:
    """What captioner.json says of a graph: its size, and its hash as a browser's `integrity`."""
    data = path.read_bytes()
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    return {"bytes": len(data), "integrity": f"sha256-{digest}"}


def require_whole(path: Path, manifest: Manifest) -> None:
    """FileNotFoundError, or ValueError for a graph of another size than captioner.json says."""
    if not path.is_file() or path.name not in manifest.files:
        raise FileNotFoundError(f"{path}: no such file; write it with python -m caption.export")
    size, whole = path.stat().st_size, manifest.files[path.name]["bytes"]
    if size != whole:
        raise ValueError(
            f"{path}: {size:,} bytes, {whole:,} in {FILE_NAME}: truncated, or of another export"
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write captioner.json, whole or not at all."""
    decoding = asdict(manifest.decoding)
    values = {
        "version": VERSION, "words": list(manifest.words), "spelling": _spelling(manifest.words),
        "bad_endings": [i for i, w in enumerate(manifest.words, 1) if w in FORBIDDEN_ENDINGS],
        "end_token": 0,
        "transform": manifest.transform.to_dict(), "regions": manifest.regions,
        "extent": dict(zip(("start", "length"), manifest.extent, strict=True)),
        "state": {"image": manifest.image_tensors, "rows": manifest.row_tensors},
        "decoding": {name: decoding[name] for name in SUPPORTED}, "about": manifest.about,
        "files": manifest.files,
    }  # fmt: skip
    write_json(folder / FILE_NAME, values)


def _spelling(words: Sequence[str]) -> dict[str, str]:
    """How a word is written where it is not written as it is; with the space before it."""
    written = {word: detokenize(["x", word])[1:] for word in words}
    return {word: text for word, text in written.items() if text != f" {word}"}


def read_manifest(folder: Path) -> Manifest:
    """FileNotFoundError, or ValueError for a file of another form."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write it with python -m caption.export --out {folder}"
        )
    values = read_json(path)
    SCHEMA(values, str(path))
    decoding = DecodeOptions.from_stored(values["decoding"])
    state, extent = values["state"], values["extent"]
    return Manifest(
        tuple(values["words"]), Transform.from_dict(values["transform"]), values["regions"],
        (extent["start"], extent["length"]), state["image"], state["rows"], decoding,
        values["about"], values["files"],
    )  # fmt: skip
