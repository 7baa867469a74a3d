"""Checkpoints: what is saved comes back, and nothing damaged or evil is ever loaded."""

import io
import json
import pickle
import shutil
import zipfile
from hashlib import sha256
from types import SimpleNamespace

import pytest
import torch

from caption.config import TrainConfig
from caption.models import Shape, build
from caption.training import checkpoint
from caption.training.learner import Learner
from prepro.runtime.distributed import DistributedContext


def state(step):
    parts = dict.fromkeys(checkpoint.PARTS, 0)
    return parts | {"model": {"w": torch.full((50,), float(step))}, "progress": {"step": step}}


def point(run, data):
    """A step file of these bytes, which last.json vouches for."""
    (run / "step-000001.pt").write_bytes(data)
    pointer = {"file": "step-000001.pt", "sha256": sha256(data).hexdigest(), "step": 1}
    (run / "last.json").write_text(json.dumps(pointer))


def test_a_state_comes_back(tmp_path):
    checkpoint.save(tmp_path, state(3), 3, best=True)
    checkpoint.save(tmp_path, state(4), 4, best=False)
    assert checkpoint.load(tmp_path)["progress"] == {"step": 4}
    assert checkpoint.load(tmp_path, "best")["progress"] == {"step": 3}
    assert torch.equal(checkpoint.load(tmp_path)["model"]["w"], torch.full((50,), 4.0))


def test_old_steps_go_and_named_ones_stay(tmp_path):
    (tmp_path / "step-of-mine.pt").write_text("not ours")
    (tmp_path / ".step-000001.pt.99.partial").write_text("left by a kill")
    for step in range(1, 8):
        checkpoint.save(tmp_path, state(step), step, best=step == 2)
    names = sorted(path.name for path in tmp_path.glob("*step-*"))
    assert names == ["step-000002.pt", "step-000006.pt", "step-000007.pt", "step-of-mine.pt"]


def test_a_kill_between_two_saves_of_one_step_keeps_the_first(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1), 5, best=False)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", lambda *_: 1 / 0)  # before the pointer moves
        with pytest.raises(ZeroDivisionError):
            checkpoint.save(tmp_path, state(2), 5, best=False)
    assert checkpoint.load(tmp_path)["progress"] == state(1)["progress"]
    checkpoint.save(tmp_path, state(2), 5, best=False)
    assert checkpoint.load(tmp_path)["progress"] == state(2)["progress"]
    for step in (6, 7):
        checkpoint.save(tmp_path, state(step), step, best=False)
    assert len(list(tmp_path.glob("step-*.pt"))) == checkpoint.KEEP


def test_a_disk_without_room_for_two_checkpoints_is_refused(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    checkpoint.require_room(tmp_path, free // 3)
    with pytest.raises(OSError, match=r"two checkpoints need .* MB, but the disk has .* MB left"):
        checkpoint.require_room(tmp_path, free)


def test_room_is_counted_to_the_byte_and_said_in_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_500_000_000_000))
    checkpoint.require_room(tmp_path, 750_000_000_000)
    with pytest.raises(OSError):
        checkpoint.require_room(tmp_path, 750_000_000_001)
    said = "two checkpoints need 2,000,000.0 MB, but the disk has 1,500,000.0 MB left"
    with pytest.raises(OSError, match=said):
        checkpoint.require_room(tmp_path, 1_000_000_000_000)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_size_that_is_asked_for_is_that_of_a_checkpoint(tmp_path, ema):
    decoder = build("show_tell", Shape(500, features=32, embedding=64, hidden=64))
    config = TrainConfig(ema=ema)
    learner = Learner(decoder, config, DistributedContext(torch.device("cpu")))
    for parameter in decoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner.step()
    parts = dict.fromkeys(checkpoint.PARTS, 0) | learner.state()
    path = checkpoint.save(tmp_path, parts, 1, best=False)
    assert learner.checkpoint_size == pytest.approx(path.stat().st_size, rel=0.1)


def test_every_flipped_byte_and_every_cut_is_found(tmp_path):
    path = checkpoint.save(tmp_path, state(1), 1, best=False)
    data = path.read_bytes()
    for offset in range(0, len(data), 97):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
        with pytest.raises(ValueError, match=r"step-000001.pt: damaged"):
            checkpoint.load(tmp_path)
        path.write_bytes(data[:offset])
        with pytest.raises(ValueError, match="damaged"):
            checkpoint.load(tmp_path)
    path.write_bytes(data)
    assert checkpoint.load(tmp_path)["progress"] == {"step": 1}


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_an_evil_pickle_is_refused_and_does_nothing(tmp_path):
    trap = tmp_path / "trap"
    for data in (
        saved(state(1) | {"model": Evil(trap)}),
        pickle.dumps(Evil(trap)),
        saved(Evil(trap)),
    ):
        point(tmp_path, data)
        with pytest.raises(ValueError, match="not a checkpoint"):
            checkpoint.load(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"PK\x03\x04", b"x" * 100, saved([1, 2]), saved({"model": 1})]
)
def test_foreign_files_are_refused(tmp_path, data):
    point(tmp_path, data)
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.load(tmp_path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    point(tmp_path, buffer.getvalue())
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"file": "a"}', "{"])
def test_a_broken_pointer_is_named(tmp_path, text):
    (tmp_path / "last.json").write_text(text)
    with pytest.raises(ValueError, match=r"last.json"):
        checkpoint.load(tmp_path)


def test_a_pointer_cannot_leave_the_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    data = saved(state(1))
    (tmp_path / "outside.pt").write_bytes(data)
    pointer = {"file": "../outside.pt", "sha256": sha256(data).hexdigest()}
    (run / "last.json").write_text(json.dumps(pointer))
    with pytest.raises(FileNotFoundError, match=r"run/outside.pt"):
        checkpoint.load(run)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path)
