"""Checkpoints of a run: immutable step files, and pointers that say which one is last and best.

    runs/NAME/step-000123.pt    tensors and plain values, read with weights_only
    runs/NAME/last.json         {"file", "sha256", "step"}, written after the file it points to

A kill at any moment leaves the pointer on a whole file. A damaged file is found by its hash.
"""

import hashlib
import io
import re
import shutil
from pathlib import Path

import torch
from torch import Tensor

from caption.models.compatibility import upgrade_checkpoint
from eval.files import read_json, whole_file, write_json

KEEP = 2  # the newest step files, besides those that a pointer names
STEP = re.compile(r"step-(\d+)(-[0-9a-f]{8})?\.pt")
PARTS = ("model", "optimizer", "progress", "config", "vocabulary")


def require_room(run: Path, size: int) -> None:
    """OSError unless the disk has room for two checkpoints of `size` bytes."""
    free = shutil.disk_usage(run).free
    if 2 * size > free:
        raise OSError(
            f"{run}: two checkpoints need {2 * size / 1e6:,.1f} MB, but the disk has "
            f"{free / 1e6:,.1f} MB left"
        )


def save(run: Path, state: dict, step: int, best: bool) -> Path:
    """Write step-N.pt, point `last` (and `best`) to it, and remove step files of no further use.

    Another state of a step that is there already gets a name of its own, since a pointer may name
    the first one.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    path = run / f"step-{step:06d}.pt"
    if path.is_file() and path.read_bytes() != data:
        path = run / f"step-{step:06d}-{digest[:8]}.pt"
    with whole_file(path) as partial:
        partial.write_bytes(data)
    pointer = {"file": path.name, "sha256": digest, "step": step}
    write_json(run / "last.json", pointer)
    if best:
        write_json(run / "best.json", pointer)
    _remove_old(run)
    return path


def load(run: Path, which: str = "last") -> dict:
    """The state that `which` (last or best) points to.

    Raises FileNotFoundError when the run has none, ValueError for a damaged or foreign file.
    Nothing in the file is ever executed: it is read with weights_only.
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
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # bytes that are no checkpoint fail in a dozen ways, struct.error among them
        raise ValueError(f"{path}: not a checkpoint of tensors and plain values") from None
    if not isinstance(state, dict) or not set(PARTS) <= set(state):
        raise ValueError(f"{path}: not a checkpoint of caption.train; it lacks {', '.join(PARTS)}")
    for name in ("model", "average", "progress"):
        if not isinstance(state.get(name, {}), dict):
            raise ValueError(f"{path}: damaged; its {name} is no dictionary")
    return upgrade_checkpoint(state)


def _remove_old(run: Path) -> None:
    """Step files that nothing names, and what a kill left of one that was never finished."""
    pointers = [run / name for name in ("last.json", "best.json") if (run / name).is_file()]
    named = {read_json(pointer)["file"] for pointer in pointers}
    for rest in run.glob(".step-*.partial"):
        rest.unlink(missing_ok=True)
    found = [STEP.fullmatch(path.name) for path in run.glob("step-*.pt")]
    steps = sorted((int(match[1]), match[0]) for match in found if match)
    for _, name in steps[:-KEEP]:
        if name not in named:
            (run / name).unlink()


def eval_weights(state: dict) -> dict[str, Tensor]:
    """The weights of a checkpoint that were validated: the average if there is one."""
    average = {
        name.removeprefix("module."): tensor for name, tensor in state.get("average", {}).items()
    }
    average.pop("n_averaged", None)
    return average or state["model"]


def has_encoder(weights: dict[str, Tensor]) -> bool:
    """Whether a CaptionModel's weights contain a fine-tuned encoder."""
    return any(name.startswith("encoder.") for name in weights)
