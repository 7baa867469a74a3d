"""Training in bfloat16 on a CPU: float32 weights, near the float32 step, recorded, repeatable."""

import json
from pathlib import Path

import pytest
import torch

from caption.config import TrainConfig
from caption.training.setup import open_trainer
from prepro.runtime import precision
from prepro.runtime.distributed import SINGLE_PROCESS
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return maker.make(tmp_path_factory.mktemp("tiny"), ()).data


def one_step(data: Path, run: Path, name: str) -> dict[str, torch.Tensor]:
    config = TrainConfig(
        data=data, out=run, decoder="topdown", hidden=16, embedding=16, dropout=0.0, batch_size=8,
        workers=0, precision=name,
    )  # fmt: skip
    with open_trainer(config, SINGLE_PROCESS) as trainer:
        trainer.enter_epoch(0)
        trainer.update(next(iter(trainer.epoch(0))))
        parameters = dict(trainer.learner.network.named_parameters())
        assert {p.dtype for p in parameters.values()} == {torch.float32}
        return {key: p.grad.clone() for key, p in parameters.items()}


def test_a_step_in_bfloat16(data, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda _: torch.bfloat16)
    with torch.backends.mkldnn.flags(enabled=False):  # here it may lack bfloat16
        half, again = (one_step(data, tmp_path / name, "bfloat16") for name in ("a", "b"))
        single = one_step(data, tmp_path / "c", "auto")
    assert all(torch.equal(half[key], again[key]) for key in half)
    a, b = (torch.cat([t.flatten() for t in grads.values()]) for grads in (half, single))
    assert 0 < (a - b).norm() < 0.1 * b.norm()
    used = {n: json.loads((tmp_path / n / "config.json").read_text())["precision"] for n in "ac"}
    assert used == {"a": "bfloat16", "c": "float32"}


def test_a_processor_without_bfloat16_refuses_before_anything_is_written(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr(precision, "reduced_precision", lambda _: None)
    with pytest.raises(ValueError, match="--precision bfloat16: this cpu has no instructions"):
        one_step(data, tmp_path / "run", "bfloat16")
    assert not (tmp_path / "run").exists()
