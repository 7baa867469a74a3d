"""Trainings under torchrun of which one rank is killed: all end, and --resume goes on.

The result is that of a run that nobody killed.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.caption.drawn_folder import make_folder
from tests.faults.attacks.outcome import Outcome
from tests.faults.attacks.results import contents

ROOT = Path(__file__).resolve().parents[3]
WORLD = 2
FLAGS = (
    "--hidden", "8", "--embedding", "8", "--batch-size", "4", "--epochs", "3", "--device", "cpu",
    "--decoder", "topdown", "--captions-per-image", "2",
)  # fmt: skip


def prepare(folder: Path) -> dict:
    return {"data": make_folder(folder / "data", train=60, val=4)}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    out, log = folder / "run", folder / "log"
    words = ["--data", str(made["data"]), "--out", str(out), *FLAGS]
    if "whole" not in made:
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        assert _torchrun(words, log).wait() == 0, log.read_text()
        made["seconds"] = time.perf_counter() - started
        made["whole"] = contents(out, "checkpoint")
    shutil.rmtree(out, ignore_errors=True)
    rank = rng.randrange(WORLD)
    moment = rng.uniform(0.3, 1) * made["seconds"]
    process = _torchrun(words, log)
    time.sleep(moment)
    _kill_rank(process, rank)
    first = process.wait(600)
    resume = ["--resume"] if (out / "config.json").is_file() else []
    status = _torchrun([*words, *resume], log).wait(600)
    if status == 0 and contents(out, "checkpoint") != made["whole"]:
        status = 96
    text = f"rank {rank} killed after {moment:.2f} of {made['seconds']:.2f} s, status {first}"
    return text, Outcome(status, "", "", 0)


def _torchrun(words: list[str], log: Path) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(WORLD)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(log, "a") as file:
        return subprocess.Popen(
            [sys.executable, *launcher, "-m", "caption.train", *words],
            stdout=file, stderr=file, env=environment, cwd=ROOT,
        )  # fmt: skip


def _kill_rank(process: subprocess.Popen, rank: int) -> None:
    """Kill the process of this rank, if the launcher has started it and it has not ended."""
    for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            try:
                environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                if f"RANK={rank}".encode() in environment:
                    os.kill(child, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue
