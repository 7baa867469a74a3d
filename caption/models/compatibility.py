"""Names in checkpoints of earlier versions, mapped to the names of today.

In: the state dict or the progress of a checkpoint. Out: the same values under today's names.
"""

from collections.abc import Mapping

PREFIXES = {"sight.": "encoder."}
"""of the weights of a CaptionModel"""
LAST_PARTS = {"places": "pos_embed"}
"""of the weights of a decoder"""
PROGRESS = {"critical": "scst", "begun": "stage_epoch"}


def rename_weights(weights: Mapping[str, object]) -> dict[str, object]:
    """State-dict keys of a decoder, a CaptionModel or its average (keys with `module.` first)."""
    return {_rename_key(key): value for key, value in weights.items()}


def upgrade_checkpoint(state: dict) -> dict:
    """The state of a checkpoint of caption.train, whichever version wrote it."""
    renamed = {part: rename_weights(state[part]) for part in ("model", "average") if part in state}
    progress = {PROGRESS.get(key, key): value for key, value in state["progress"].items()}
    return {**state, **renamed, "progress": progress}


def _rename_key(key: str) -> str:
    root = "module." if key.startswith("module.") else ""
    name = key.removeprefix(root)
    for old, new in PREFIXES.items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
    head, dot, last = name.rpartition(".")
    return root + head + dot + LAST_PARTS.get(last, last)
