"""What an output file says, without times and paths, so that two runs can be compared."""

import hashlib
import re
from pathlib import Path

import h5py
import torch
from safetensors.torch import load_file

from caption.training import checkpoint
from prepro.runtime.state_file import load_state


def contents(folder: Path, name: str) -> object:
    """A value that is equal for equal results; None if the file is not there."""
    path = folder / name
    if name == "checkpoint":
        state = checkpoint.load(folder)
        return _plain({key: state[key] for key in ("model", "optimizer", "progress", "captions")})
    if not path.is_file():
        return None
    if path.suffix == ".pt":
        return _plain({key: load_state(path)[key] for key in ("network", "optimizer", "epoch")})
    if path.suffix == ".safetensors":
        return _plain(load_file(path))
    if path.suffix == ".h5":
        with h5py.File(path, locking=False) as file:
            return {key: hashlib.sha256(_bytes(file[key])).hexdigest() for key in file}
    data = path.read_bytes()
    if path.suffix == ".html":
        data = re.sub(rb"\d{4}-\d\d-\d\d[T ][\d:.]+", b"", data)
    return hashlib.sha256(data).hexdigest()


def _bytes(data: h5py.Dataset) -> bytes:
    is_text = h5py.check_string_dtype(data.dtype) is not None
    return repr(data[:].tolist()).encode() if is_text else data[:].tobytes()


def _plain(value: object) -> object:
    """Tensors as hashes of their bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
