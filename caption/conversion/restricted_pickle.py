"""Read the pickle of an earlier system's options, and run nothing.

In: infos_ID.pkl, as self-critical.pytorch and ImageCaptioning.pytorch write it. Out: plain values.
An unpickler normally imports and calls whatever the file names. This one knows six names, which can
only build values, and refuses all others by name. The only file of the project that unpickles.
"""

import argparse
import codecs
import collections
import pickle
from pathlib import Path

import numpy as np

LIMIT = 256 << 20  # bytes; the largest public file has 4 MB
ALLOWED = {
    ("argparse", "Namespace"): argparse.Namespace,
    ("builtins", "dict"): dict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("_codecs", "encode"): codecs.encode,
}
"""what a file may name; older and newer spellings of a module are mapped to these"""
SPELLINGS = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        key = (SPELLINGS.get(module, module), name)
        if key not in ALLOWED:
            raise ValueError(f"it names {module}.{name}, which is not opened")
        return ALLOWED[key]


def load_infos(path: Path) -> dict:
    """The values of an infos pickle. FileNotFoundError, or ValueError for any other content."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size > LIMIT:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, more than the {LIMIT:,} read")
    try:
        with open(path, "rb") as file:
            values = _Unpickler(file, encoding="latin1").load()
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle fails in a hundred ways
        raise ValueError(
            f"{path}: not an infos pickle of self-critical.pytorch ({error})"
        ) from None
    if not isinstance(values, dict) or not isinstance(values.get("opt"), argparse.Namespace):
        raise ValueError(f"{path}: not an infos pickle of self-critical.pytorch; it has no opt")
    return values
