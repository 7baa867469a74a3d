"""The curves of training runs, drawn from their metrics.jsonl.

In: folders of runs. Out: one figure (.png, .pdf or .svg). The command is `caption.curves`.
"""

from collections.abc import Sequence
from pathlib import Path

from prepro.runtime.metrics_log import read_rows
from prepro.runtime.plotting import curve, figure


def names(runs: Sequence[Path]) -> list[str]:
    """How figures and pages call runs, each in its own way: by folder, by path, or numbered."""
    for called in ([run.resolve().name for run in runs], [str(run) for run in runs]):
        if len(set(called)) == len(called):
            return called
    return [f"{run.resolve().name} ({number})" for number, run in enumerate(runs, 1)]


def draw(runs: Sequence[Path], out: Path) -> None:
    """Loss and validation CIDEr-D over epochs: training solid, validation dashed.

    In self-critical training the reward, beside CIDEr-D, replaces the loss.
    FileNotFoundError for a folder without metrics.jsonl.
    """
    logs = [read_rows(run) for run in runs]
    rewarded = any("reward" in row for rows in logs for row in rows)
    scores = "CIDEr-D, reward in training" if rewarded else "validation CIDEr-D"
    with figure(out, names(runs), ["loss (nats a word)", scores]) as (left, right):
        for number, rows in enumerate(logs):
            steps = [row for row in rows if "loss" in row]
            val = [row for row in rows if "CIDEr-D" in row]
            losses = [(row["epoch"], row["loss"]) for row in steps if "reward" not in row]
            curve(left, number, losses)
            curve(left, number, [(row["epoch"], row.get("val_loss")) for row in val], True)
            rewards = [(row["epoch"], row["reward"]) for row in steps if "reward" in row]
            curve(right, number, rewards)
            curve(right, number, [(row["epoch"], row["CIDEr-D"]) for row in val], True)
