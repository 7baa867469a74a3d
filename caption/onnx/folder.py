"""The folder of an exported captioner: captioner.json, read and checked without torch.

captioner.json says what the graphs do not: the words, how a picture becomes pixels, the defaults of
decoding, where the weights come from and what their terms are.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from caption.decoding.options import RANGES, DecodeOptions, LengthRule
from eval.files import read_json, write_json
from eval.schema import boolean, integer, items, mapping, one_of, text
from prepro.transform import SCHEMA as TRANSFORM
from prepro.transform import Transform

FILE_NAME = "captioner.json"
VERSION = 1
SUPPORTED = (
    "beam", "max_length", "min_length", "length_rule", "n", "suppress_unk", "no_repeat",
    "block_trigrams", "no_bad_endings",
)  # fmt: skip
"""the fields of DecodeOptions that the search in numpy knows"""
_DECODING = {
    **{name: integer(*RANGES[name]) for name in ("beam", "max_length", "min_length", "n")},
    "length_rule": one_of(get_args(LengthRule)),
    **dict.fromkeys(SUPPORTED[5:], boolean),
}
SCHEMA = mapping(
    {
        "version": integer(VERSION, VERSION),
        "words": items(text(1000, printable=True), 10_000_000),
        "end_token": integer(0, 0),
        "transform": TRANSFORM,
        "regions": integer(0, 256),
        "state": mapping({"image": integer(0, 1000), "rows": integer(1, 1000)}),
        "decoding": mapping(_DECODING),
        "about": mapping({"description": text(10_000)}, more=True),
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
    image_tensors: int
    """tensors of the state that belong to the picture"""
    row_tensors: int
    """tensors of the state that belong to each hypothesis"""
    decoding: DecodeOptions
    about: dict
    """the model, its training data, its encoder and the terms of their weights"""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write captioner.json, whole or not at all."""
    decoding = asdict(manifest.decoding)
    values = {
        "version": VERSION, "words": list(manifest.words), "end_token": 0,
        "transform": manifest.transform.to_dict(), "regions": manifest.regions,
        "state": {"image": manifest.image_tensors, "rows": manifest.row_tensors},
        "decoding": {name: decoding[name] for name in SUPPORTED}, "about": manifest.about,
    }  # fmt: skip
    write_json(folder / FILE_NAME, values)


def read_manifest(folder: Path) -> Manifest:
    """FileNotFoundError, or ValueError for a file of another form."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write it with python -m caption.export --out {folder}"
        )
    values = read_json(path)
    SCHEMA(values, str(path))
    decoding = DecodeOptions(**values["decoding"])
    state = values["state"]
    return Manifest(
        tuple(values["words"]), Transform.from_dict(values["transform"]), values["regions"],
        state["image"], state["rows"], decoding, values["about"],
    )  # fmt: skip
