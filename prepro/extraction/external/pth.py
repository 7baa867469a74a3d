"""One .pth file: a dictionary from ids to tensors or arrays."""

from pathlib import Path

import numpy as np
import torch

from eval.files import first_line
from prepro.annotations.records import ImageRecord
from prepro.extraction.external.found import FoundFeatures, ReadFeatures, find_name


def open_pth(path: Path) -> ReadFeatures:
    """Tensors stay in the file until they are read. ValueError for any other content."""
    table = _load(path)
    if not isinstance(table, dict):
        raise ValueError(f"{path}: not a dictionary from ids to features")
    table = {str(name): value for name, value in table.items()}

    def read(record: ImageRecord) -> FoundFeatures:
        value = table[find_name(record, table.__contains__, path)]
        if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
            value = value.float()
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise ValueError(f"{path}: {record.id} is a {type(value).__name__}, not an array")
        return FoundFeatures(np.asarray(value))

    return read


def _load(path: Path) -> object:
    """torch.load of weights only, which builds tensors and arrays and runs nothing."""
    multiarray = np.zeros(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i8", "u1")]
    older = [(multiarray, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    try:
        with torch.serialization.safe_globals([multiarray, *older, *kinds]):
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # the format before PyTorch 1.6 is no zip file and is read whole
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for damaged files
        raise ValueError(f"{path}: not a dictionary of features ({first_line(error)})") from None
