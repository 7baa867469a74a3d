"""The captions of a data folder whose labels.json has no `images`: rows of the labels.h5 beside it.

In: the path of labels.json, a split. Out: the split's objects {id, file_path, split, captions}, as
labels.json would hold them; other splits are not read. prepro/storage/label_rows.py has the layout.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

NAMES = ("split", "images", "image_offsets")
LIMIT = 64 << 20  # bytes of one object


def are_beside(path: Path, content: object) -> bool:
    """Whether `content`, of the labels.json at `path`, is only the header of rows."""
    is_header = isinstance(content, dict) and "ix_to_word" in content and "images" not in content
    return is_header and path.with_suffix(".h5").is_file()


def split_names(path: Path) -> list[str]:
    """The splits that have a picture, sorted."""
    with _opened(path.with_suffix(".h5")) as file:
        names = str(file.attrs["splits"]).split()
        return sorted(names[i] for i in set(file["split"][:].tolist()) if i < len(names))


def read(path: Path, split: str | None) -> list[dict]:
    """The objects of a split, or of all. ValueError for a damaged file."""
    source = path.with_suffix(".h5")
    try:
        with _opened(source) as file:
            codes, names = file["split"][:], str(file.attrs["splits"]).split()
            if split is not None and split not in names:
                return []
            rows = range(len(codes))
            if split is not None:
                rows = (codes == names.index(split)).nonzero()[0].tolist()
            return [_row(file, row) for row in rows]
    except (KeyError, OSError, RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{source}: damaged ({error})") from None


def _row(file: "h5py.File", row: int) -> dict:
    ends = file["image_offsets"][row : row + 2].tolist()
    first, last = ends if len(ends) == 2 else (0, 0)
    if not 0 <= first < last <= len(file["images"]) or last - first > LIMIT:
        raise TypeError(f"image_offsets of row {row}")
    try:
        value = json.loads(file["images"][first:last].tobytes())
    except (ValueError, RecursionError) as error:
        raise TypeError(f"row {row} of images: {error}") from None
    if not isinstance(value, dict):
        raise TypeError(f"row {row} of images")
    return value


def _opened(source: Path) -> "h5py.File":
    """ValueError for a file that is no HDF5 or whose data lie in another file."""
    import h5py  # here: a command's --help needs none

    try:
        file = h5py.File(source, "r", locking=False)
    except OSError as error:
        raise ValueError(f"{source}: not a readable HDF5 file ({error})") from None
    for name in NAMES:
        item = file.get(name) if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            file.close()
            raise ValueError(f"{source}: no dataset {name!r} of its own")
    return file
