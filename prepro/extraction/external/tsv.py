"""The .tsv files of bottom-up attention, LXMERT and VinVL: a line a picture, columns in base64.

    image_id  image_w  image_h  num_boxes  boxes  features          bottom-up attention
    img_id  img_h  img_w  ...  num_boxes  boxes  features           LXMERT, ten columns
    image_id  {"num_boxes": ..., "features": ...}                   VinVL
    image_id  num_boxes  features

A first line with the names of the columns may be there. One pass finds where each picture's line
begins; lines are read when their picture is asked for.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.found import FoundFeatures, ReadFeatures, find_name
from prepro.runtime.progress_bar import ProgressBar

MAX_LINE = 256 << 20  # bytes
COLUMNS = {
    6: ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
    10: (
        "img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf",
        "num_boxes", "boxes", "features",
    ),
    3: ("image_id", "num_boxes", "features"),
}  # fmt: skip
"""by the number of columns"""


def tsv_files(source: Path) -> list[Path]:
    """The .tsv files of a folder, such as karpathy_train_resnet101_faster_rcnn_genome.tsv.0."""
    if source.is_file():
        return [source]
    return sorted(path for path in source.iterdir() if re.search(r"\.tsv(\.\d+)?$", path.name))


def open_tsv(paths: Sequence[Path]) -> ReadFeatures:
    """ValueError for a file with another number of columns, or with a picture twice."""
    index: dict[str, tuple[int, int]] = {}  # id -> file, offset
    tables = [_columns(path) for path in paths]
    for number, path in enumerate(paths):
        _index(path, number, tables[number] is not None, index)
    files = [path.open("rb") for path in paths]

    def read(record: ImageRecord) -> FoundFeatures:
        number, offset = index[find_name(record, index.__contains__, paths[0])]
        files[number].seek(offset)
        cells = files[number].readline(MAX_LINE).rstrip(b"\r\n").split(b"\t")
        try:
            return _features(_named(cells, tables[number]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{record.id} in {paths[number]}: cannot be read ({reason})") from None

    return read


def _columns(path: Path) -> tuple[str, ...] | None:
    """The names in the first line; None if it is a picture's. ValueError for another file."""
    with path.open("rb") as file:
        cells = file.readline(MAX_LINE).rstrip(b"\r\n").split(b"\t")
    if cells[0] in (b"image_id", b"img_id"):
        return tuple(cell.decode("ascii", "replace") for cell in cells)
    if len(cells) != 2 and len(cells) not in COLUMNS:
        raise ValueError(
            f"{path}: {len(cells)} columns, expected image_id, image_w, image_h, num_boxes, boxes, "
            "features (bottom-up attention), or image_id and JSON (VinVL)"
        )
    return None


def _index(path: Path, number: int, has_names: bool, index: dict[str, tuple[int, int]]) -> None:
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file, ProgressBar(size, path.name[:16]) as progress:
        for line in iter(lambda: file.readline(MAX_LINE), b""):
            if len(line) == MAX_LINE:
                raise ValueError(f"{path}: a line of more than {MAX_LINE:,} bytes")
            name = line.split(b"\t", 1)[0].decode("utf-8", "replace").strip()
            if name and not (has_names and offset == 0):
                if name in index:
                    raise ValueError(f"{path}: the picture {name!r} twice")
                index[name] = number, offset
            offset += len(line)
            progress.add(len(line))


def _named(cells: Sequence[bytes], columns: tuple[str, ...] | None) -> dict:
    if columns is None and len(cells) == 2:
        return json.loads(cells[1])
    return dict(zip(columns or COLUMNS[len(cells)], cells, strict=True))


def _features(row: dict) -> FoundFeatures:
    boxes_of = row.get("num_boxes")
    features = _numbers(row["features"]).reshape(int(boxes_of), -1)
    boxes = _numbers(row["boxes"]).reshape(len(features), 4) if row.get("boxes") else None
    if boxes is None:
        boxes = _boxes_at_the_end(features)
    width, height = (row.get(f"image_{s}", row.get(f"img_{s}")) for s in "wh")
    size = (float(width), float(height)) if width and height else None
    return FoundFeatures(features, boxes, size)


def _numbers(text: bytes | str) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.float32)
    except binascii.Error as error:
        raise ValueError(f"not base64 ({error})") from None


def _boxes_at_the_end(features: np.ndarray) -> np.ndarray | None:
    """VinVL's last six numbers: corners, width and height, as fractions of the picture's sides."""
    if features.shape[1] < 7:
        return None
    left, top, right, bottom, width, height = features[:, -6:].T
    agree = np.allclose(right - left, width, atol=1e-3) and np.allclose(
        bottom - top, height, atol=1e-3
    )
    whole = features[:, -6:]
    is_fraction = whole.min() >= -1e-3 and whole.max() <= 1.001 and bool((width > 0).all())
    return features[:, -6:-2] if agree and is_fraction else None
