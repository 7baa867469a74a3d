"""State files: whole, without pickles, checked by their hash."""

import hashlib
import os

import pytest
import torch

from prepro.runtime.state_file import load_state, save_state


def test_state_is_read_back(tmp_path):
    path = tmp_path / "last.pt"
    state = {"weights": torch.arange(3.0), "epoch": 2, "names": ["a", "b"]}
    sha256 = save_state(path, state)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_state(path, sha256)
    assert torch.equal(loaded.pop("weights"), state.pop("weights")) and loaded == state
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "last.pt"
    sha256 = save_state(path, {"weights": torch.arange(300.0)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"last\.pt: damaged"):
        load_state(path, sha256)
    for content in (b"", b"<html>", bytes(data[:200])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"last\.pt: not a checkpoint of tensors"):
            load_state(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="it holds a list"):
        load_state(path)
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "none.pt")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Payload()}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="not a checkpoint of tensors"):
        load_state(tmp_path / "last.pt")
    assert not (tmp_path / "executed").exists()
