"""Several gloo processes against one: the same losses, and one line when one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from caption.training import checkpoint
from tests.caption.drawn_folder import make_folder

ROOT = Path(__file__).resolve().parents[3]
FLAGS = (
    "--hidden", "16", "--embedding", "16", "--dropout", "0", "--batch-size", "5", "--epochs", "5",
    "--captions-per-image", "3", "--device", "cpu", "--workers", "0",
)  # fmt: skip
PROGRAM = """
import sys
from caption import train
from caption.training import training_log
training_log.LOG_EVERY = 1
sys.argv = ["caption.train", *sys.argv[1:]]
from eval import command
sys.exit(command.finish(train.main))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """51 pictures in batches of 5: the last batch has one, and a second process none of it."""
    return make_folder(
        tmp_path_factory.mktemp("distributed") / "tiny", train=51, val=5, weights="said"
    )


def start(world, *words, program=PROGRAM):
    """As torchrun would, without its own talk: the environment that it sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, "-c", program, *map(str, (*FLAGS, *words))]
    return [
        subprocess.Popen(
            command, cwd=ROOT, env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip


def train(world, *words):
    for process in start(world, *words):
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


COMPARED = {
    "loss", "val_loss", "step", "epoch", "learning_rate", "reward", "baseline", "entropy", "length",
    "bad_endings",
}  # fmt: skip
CASES = {
    "frozen": ("--decoder", "topdown", "--ema", "0.9"),
    "accumulated": ("--decoder", "show_attend_tell", "--accumulate", "2"),
    "finetuned": ("--finetune-after", "2", "--clip-mode", "norm", "--decoder", "newfc"),
    "self-critical": ("--scst-after", "1", "--decoder", "newfc"),
    "all stages": (
        "--finetune-after",
        "1",
        "--scst-after",
        "2",
        "--decoder",
        "topdown",
        "--accumulate",
        "2",
        "--scst-cross-entropy",
        "0.1",
    ),
}
SLOW = ("accumulated", "finetuned", "all stages")


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES]
)
def test_processes_train_to_the_losses_of_one(case, data, tmp_path):
    """55 steps (28 accumulated); the validation has every picture once."""
    for world in (1, 2):
        train(world, "--data", data, "--out", tmp_path / str(world), *CASES[case])
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert len(one) == len(two) > 30
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() & COMPARED:
            assert a[name] == pytest.approx(b[name], abs=1e-6), (a["step"], name)


@pytest.mark.slow
def test_three_processes_and_a_resume(data, tmp_path):
    """Stopped by SIGTERM to all and resumed: bit for bit, in three processes as well."""
    words = ("--data", data, "--decoder", "show_tell", "--dropout", "0.4", "--epochs", "3")
    train(3, *words, "--out", tmp_path / "whole")
    processes = start(3, *words, "--out", tmp_path / "parts")
    while not (tmp_path / "parts" / "metrics.jsonl").exists():
        time.sleep(0.01)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=240)
        assert process.returncode == 143
    train(3, *words, "--out", tmp_path / "parts", "--resume")
    one, two = (checkpoint.load(tmp_path / name) for name in ("whole", "parts"))
    assert one["progress"] == two["progress"]
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, two["model"][name]), name


def test_the_first_process_decides(tmp_path):
    """What it raises, both raise; its statistics of BatchNorm are what both validate with."""
    program = """
import torch
from prepro.runtime import distributed
context = distributed.init_distributed("cpu")
norm = torch.nn.BatchNorm1d(2)
norm.running_mean.fill_(context.rank + 1)
distributed.broadcast_buffers(context, norm)
def refuse():
    raise ValueError(f"said by {context.rank}")
try:
    distributed.run_on_rank_zero(context, refuse)
except ValueError as error:
    print(error, norm.running_mean.tolist())
distributed.shutdown_distributed()
"""
    for process in start(2, program=program):
        out, err = process.communicate(timeout=120)
        assert out == "said by 0 [1.0, 1.0]\n", err


def test_a_killed_process_ends_the_others_with_one_line(data, tmp_path):
    processes = start(2, "--data", data, "--out", tmp_path / "run", "--epochs", "500")
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.01)
    processes[1].kill()
    _, err = processes[0].communicate(timeout=120)
    assert processes[0].returncode == 1
    last = err.rstrip().splitlines()[-1]
    assert "rank 0 of 2: another process of this run has died" in last and "--resume" in last
    assert "Traceback" not in err
