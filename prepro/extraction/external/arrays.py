"""An .npy or .npz file, or its bytes, as the features of a picture."""

import io
from pathlib import Path

import numpy as np

from prepro.extraction.external.found import FoundFeatures, require_size

# the names of arrays in .npz files: self-critical's, others', bottom-up's, cocotest_bu's, numpy's
KEYS = ("feat", "features", "x", "z", "img", "arr_0")
BOX_KEYS = ("pos_boxes", "boxes", "bbox", "norm_bb")
SIZE_KEYS = (("image_w", "image_h"), ("image_width", "image_height"), ("width", "height"))


def read_array(source: Path | bytes, name: str, key: str = "") -> FoundFeatures:
    """The array `key` of an .npz, or the first one that KEYS lists. ValueError if unreadable."""
    try:
        value = np.load(_opened(source, name), allow_pickle=False)
        if isinstance(value, np.ndarray):
            return FoundFeatures(value)
        with value:
            return _from_npz(value, name, key)
    except ValueError:
        raise
    except Exception as error:  # a damaged file fails in a dozen ways
        raise ValueError(f"{name}: cannot be read ({_reason(error)})") from None


def _opened(source: Path | bytes, name: str) -> Path | io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    require_size(source.stat().st_size, name)
    return source


def _from_npz(file: np.lib.npyio.NpzFile, name: str, key: str) -> FoundFeatures:
    keys = (key,) if key else KEYS
    chosen = next((key for key in keys if key in file), None)
    if chosen is None:
        raise ValueError(
            f"{name}: it has none of the arrays {', '.join(keys)}, but "
            f"{', '.join(file.files)[:100]}; name one with --key"
        )
    boxes = next((key for key in BOX_KEYS if key in file and key != chosen), None)
    sizes = next((pair for pair in SIZE_KEYS if file.files and {*pair} <= {*file.files}), None)
    return FoundFeatures(
        _member(file, chosen, name),
        None if boxes is None else _member(file, boxes, name),
        sizes and tuple(float(_member(file, side, name).reshape(-1)[0]) for side in sizes),
    )


def _member(file: np.lib.npyio.NpzFile, key: str, name: str) -> np.ndarray:
    info = next(
        (file.zip.getinfo(n) for n in (f"{key}.npy", key) if n in file.zip.namelist()), None
    )
    require_size(info.file_size if info else 0, name)
    return file[key]


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or ["not enough memory"])[0]
