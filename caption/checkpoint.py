"""Checkpoints of a run: immutable step files, and pointers that say which one is last and best.

    runs/NAME/step-000123.pt    tensors and plain values, read with weights_only
    runs/NAME/last.json         {"file", "sha256", "step"}, written after the file it points to

A kill at any moment leaves the pointer on a whole file. A damaged file is found by its hash.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import torch

from eval.files import read_json, whole_file, write_json

KEEP = 2  # step files besides those that a pointer names


def save(run: Path, state: dict, step: int, best: bool) -> Path:
    """Write step-N.pt, point `last` (and `best`) to it, and remove step files of no further use."""
    path = run / f"step-{step:06d}.pt"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    with whole_file(path) as partial:
        partial.write_bytes(data)
    pointer = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "step": step}
    write_json(run / "last.json", pointer)
    if best:
        write_json(run / "best.json", pointer)
    _remove_old(run)
    return path


def load(run: Path, which: str = "last") -> dict:
    """The state that `which` (last or best) points to.

    Raises FileNotFoundError when the run has none, ValueError for a damaged or foreign file.
    """
    pointer = read_json(run / f"{which}.json")
    if not isinstance(pointer, dict) or not {"file", "sha256"} <= set(pointer):
        raise ValueError(f"{run}/{which}.json: expected the keys file and sha256")
    path = run / Path(str(pointer["file"])).name  # a name in this folder, whatever it says
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint, though {which}.json names it")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != pointer["sha256"]:
        raise ValueError(f"{path}: damaged; its hash is not the one in {which}.json")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{path}: not a checkpoint of ours ({str(error).splitlines()[0]})") from None


def _remove_old(run: Path) -> None:
    pointers = (read_json(run / name) for name in ("last.json", "best.json") if (run / name).is_file())
    named = {pointer["file"] for pointer in pointers}
    steps = sorted(run.glob("step-*.pt"), key=lambda path: int(path.stem.removeprefix("step-")))
    for path in steps[:-KEEP]:
        if path.name not in named:
            path.unlink()
