"""One process alone, errors of a lost one, and seeds; tests/caption/training has real groups."""

import itertools

import pytest
import torch
from torch import nn

from prepro.runtime import distributed
from prepro.runtime.distributed import (
    DistributedContext,
    all_gather,
    all_sum,
    broadcast_buffers,
    init_distributed,
    report_lost_processes,
    run_on_rank_zero,
    seed_step,
    shutdown_distributed,
    wrap_for_gradients,
)

CPU = torch.device("cpu")
ALONE, SECOND = DistributedContext(CPU), DistributedContext(CPU, 1, 2)


def test_one_process_gets_back_what_it_gives(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert init_distributed("cpu") == ALONE == DistributedContext(CPU, 0, 1)
    values, network = torch.arange(3.0), nn.BatchNorm1d(2)
    assert ALONE.sum(values) is values and all_sum(ALONE, 1, 2.5) == [1, 2.5]
    assert all_gather(ALONE, "a") == ["a"] and wrap_for_gradients(network, ALONE) is network
    broadcast_buffers(ALONE, network)
    shutdown_distributed()
    assert len({ALONE, init_distributed("cpu")}) == 1


def test_rank_zero_works_and_its_error_is_everyones(monkeypatch):
    done = []
    run_on_rank_zero(ALONE, lambda: done.append(1))
    assert done == [1]

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run_on_rank_zero(ALONE, fail)
    monkeypatch.setattr(distributed, "all_gather", lambda _, own: [OSError("of rank 0"), own])
    with pytest.raises(OSError, match="of rank 0"):
        run_on_rank_zero(SECOND, lambda: done.append(2))
    monkeypatch.setattr(distributed, "all_gather", lambda _, own: [None, own])
    run_on_rank_zero(SECOND, lambda: done.append(3))
    assert done == [1]


@pytest.mark.parametrize("text", ["[Gloo] closed", "NCCL error", "Connection reset", "Timed out"])
def test_a_lost_process_is_reported_in_a_line(text):
    died = "^rank 1 of 2: another process of this run has died"
    with pytest.raises(RuntimeError, match=died), report_lost_processes(SECOND):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError) as raised, report_lost_processes(ALONE):
        raise RuntimeError(text)
    assert str(raised.value) == text


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="^out of memory$"), report_lost_processes(SECOND):
        raise RuntimeError("out of memory")


def test_each_seed_step_and_rank_has_its_own_numbers():
    drawn = set()
    for triple in itertools.product(range(3), repeat=3):
        seed_step(*triple)
        first = torch.rand(4)
        seed_step(*triple)
        assert torch.equal(torch.rand(4), first)
        drawn.add(tuple(first.tolist()))
    assert len(drawn) == 27
