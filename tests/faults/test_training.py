"""The training command under real faults: signals, kills while saving, NaN, damaged checkpoints."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from caption.training import checkpoint
from tests.caption.drawn_folder import make_folder

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--hidden", "8", "--embedding", "8", "--epochs", "2", "--batch-size", "2", "--device", "cpu",
    "--captions-per-image", "2", "--decoder", "topdown",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("faults") / "tiny", train=120, val=2)


def start(*words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "caption.train", *FLAGS, *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def wait_for_a_step(run, process):
    """Until metrics.jsonl has its first line, which comes after 25 steps."""
    while not (run / "metrics.jsonl").is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="processes are image_paths elsewhere"
)
def test_nobody_outlives_a_kill(data, tmp_path):
    """Fine-tuning reads pictures in workers, which come from a server of their own."""
    words = ("--finetune-after", "0", "--finetune-layers", "9", "--workers", "1")
    process = start("--data", data, "--out", tmp_path / "run", *words)
    wait_for_a_step(tmp_path / "run", process)
    family = descendants(process.pid)
    assert len(family) >= 2, "a forkserver and a worker"
    process.kill()
    process.wait()  # communicate() would wait for those who hold its pipes
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/stat").exists() for pid in family):
        assert time.monotonic() < until, "still there"
        time.sleep(0.1)


def descendants(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *descendants(child)]
    return found


@pytest.mark.slow
def test_signals_and_kills(data, tmp_path):
    """SIGTERM in the middle, kill -9 in the middle, resume: the weights of a run left alone."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    status, _, err = finish(start("--data", data, "--out", whole))
    assert status == 0, err
    process = start("--data", data, "--out", parts)
    wait_for_a_step(parts, process)
    process.send_signal(signal.SIGTERM)
    status, out, err = finish(process)
    assert status == 143 and out == "" and "continue with: python -m caption.train" in err
    step = json.loads((parts / "last.json").read_text())["step"]
    assert 25 <= step < 120
    before = (parts / "metrics.jsonl").stat().st_size
    process = start("--out", parts, "--resume")
    while (parts / "metrics.jsonl").stat().st_size <= before and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL
    status, _, err = finish(start("--out", parts, "--resume"))
    assert status == 0, err
    one, two = checkpoint.load(whole), checkpoint.load(parts)
    assert one["progress"] == two["progress"]
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, two["model"][name]), name


@pytest.mark.parametrize(
    ("stage", "rate"), [((), "0.0004"), (("--scst-after", 0), "5e-05")], ids=["words", "score"]
)
def test_a_feature_that_is_not_a_number_stops_before_the_weights_move(stage, rate, tmp_path):
    folder = make_folder(tmp_path / "nan", train=40, val=2)
    with h5py.File(folder / "features.h5", "r+") as file:
        file["att"][17, 2, 5] = np.nan
    run = tmp_path / "run"
    status, _, err = finish(start("--data", folder, "--out", run, *stage))
    assert status == 1
    assert "Traceback" not in err and "not finite" in err and "117" in err
    assert "step " in err and f"learning rate {rate}" in err
    assert not (run / "last.json").exists(), "there was no good checkpoint yet, and no bad one is"


def test_the_last_good_checkpoint_stays(tmp_path):
    """The bad row is met after an epoch of good ones: the epoch's checkpoint is as it was."""
    folder, run = make_folder(tmp_path / "nan", train=40, val=2), tmp_path / "run"
    assert finish(start("--data", folder, "--out", run))[0] == 0
    pointer = (run / "last.json").read_bytes()
    with h5py.File(folder / "features.h5", "r+") as file:
        file["att"][17, 2, 5] = np.inf
    status, _, err = finish(start("--out", run, "--resume", "--epochs", 3))
    assert status == 1 and "not finite" in err and "117" in err
    assert (run / "last.json").read_bytes() == pointer


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_a_line(tmp_path):
    run = tmp_path / "run"
    small = make_folder(tmp_path / "small", train=4, val=2)
    assert finish(start("--data", small, "--out", run, "--epochs", 1))[0] == 0
    pointer = json.loads((run / "last.json").read_text())
    path = run / pointer["file"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    status, out, err = finish(start("--out", run, "--resume"))
    assert (status, out) == (2, "") and err.count("\n") == 1 and "damaged" in err
    path.write_bytes(b"junk")
    pointer["sha256"] = sha256(b"junk").hexdigest()
    (run / "last.json").write_text(json.dumps(pointer))
    status, out, err = finish(start("--out", run, "--resume"))
    assert (status, out) == (2, "") and err.count("\n") == 1 and "not a checkpoint" in err


def save_for_ever(run):
    state = dict.fromkeys(checkpoint.PARTS, 0)
    for step in range(1, 100_000):
        weights = torch.full((500_000,), float(step))
        checkpoint.save(
            run,
            state | {"model": {"weight": weights}, "progress": {"step": step}},
            step,
            step % 3 == 0,
        )


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    """At whatever moment: last.json points to a whole file, and little is left lying about."""
    chance, seen, pointer = random.Random(0), set(), tmp_path / "last.json"
    for _ in range(4):
        pointer.unlink(missing_ok=True)
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        while not pointer.exists():
            time.sleep(0.005)
        time.sleep(chance.uniform(0.05, 1.0))
        process.kill()
        process.join()
        state = checkpoint.load(tmp_path)
        assert torch.equal(
            state["model"]["weight"], torch.full((500_000,), float(state["progress"]["step"]))
        )
        seen.add(state["progress"]["step"])
    assert len(seen) > 1, "the kills came at different steps"
    assert len(list(tmp_path.glob("*step-*"))) <= 6
