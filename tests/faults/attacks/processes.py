"""Commands in processes of their own, which start at once and may be killed.

In: the words after `python -m`. Out: the exit status. A forkserver has imported everything.
"""

import os
import resource
import runpy
import sys
from pathlib import Path

from prepro.runtime.workers import forkserver

PRELOAD = (
    "torch", "caption.training.setup", "caption.training.trainer", "caption.reporting.html",
    "caption.inference.image_source", "caption.reporting.statistics", "prepro.extraction.pipeline",
    "prepro.pretraining.trainer", "matplotlib.figure", "tests.faults.attacks.processes",
)  # fmt: skip


def run_killed(
    words: list[str], log: Path, seconds: float | None = None, room: int | None = None
) -> int:
    """Run a command to its end, or kill it after `seconds`; its output goes to the file `log`.

    `room`: no file may be longer than so many bytes, as if the disk were full.
    """
    process = forkserver(PRELOAD).Process(target=_run, args=(words, log, room))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def _run(words: list[str], log: Path, room: int | None) -> None:
    import torch

    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
