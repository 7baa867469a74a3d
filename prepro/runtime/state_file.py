"""One file of training state: tensors and plain values, written whole and read without pickles.

In: a dict. Out: a file that torch.load(weights_only=True) reads, and its SHA-256.
"""

import hashlib
import io
from pathlib import Path

import torch

from eval.files import whole_file


def save_state(path: Path, state: dict) -> str:
    """Write the file, whole or not at all; returns its SHA-256."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with whole_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def load_state(path: Path, sha256: str | None = None) -> dict:
    """Read the file; its tensors are on the CPU. Nothing in it is executed.

    ValueError if it is no such file, or if `sha256` is given and differs; FileNotFoundError.
    """
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path}: damaged; its SHA-256 has changed since it was written")
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # a damaged file fails in a dozen ways, struct.error among them
        raise ValueError(f"{path}: not a checkpoint of tensors and plain values") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint; it holds a {type(state).__name__}")
    return state
