"""One process alone, errors of a lost one, and seeds; tests/caption/training has real groups."""

import itertools
from types import SimpleNamespace

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


@pytest.mark.parametrize(
    ("device", "world", "expected", "calls"),
    [
        ("cuda", 8, DistributedContext(torch.device("cuda:1"), 5, 8), ["cuda:1", "nccl"]),
        ("cpu", 2, DistributedContext(CPU, 5, 2), ["gloo"]),
        ("cuda", 1, DistributedContext(torch.device("cuda"), 5, 1), []),
    ],
)
def test_each_process_joins_with_its_own_device(device, world, expected, calls, monkeypatch):
    for name, value in {"RANK": 5, "WORLD_SIZE": world, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    made = []
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", lambda chosen: made.append(str(chosen)))
    monkeypatch.setattr(distributed.dist, "init_process_group", made.append)
    assert init_distributed(device) == expected and made == calls


def test_sums_of_large_counts_are_exact(monkeypatch):
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda values: values.add_(1))
    assert all_sum(SECOND, 2**53 - 2, 0.5) == [2**53 - 1, 1.5]


def test_gradients_of_a_cpu_are_averaged_in_the_order_of_the_ranks(monkeypatch):
    """1e8 - 1e8 + 1 is 1 in float32, and 0 in another order."""
    hooks = []

    class Parallel(nn.Linear):
        def register_comm_hook(self, _: object, hook: object) -> None:
            hooks.append(hook)

    class Work:
        def get_future(self) -> torch.futures.Future:
            done = torch.futures.Future()
            done.set_result(None)
            return done

    def gather(into: list[torch.Tensor], local: torch.Tensor, async_op: bool) -> Work | None:
        for tensor, value in zip(into, (1e8, -1e8, 1.0), strict=True):
            tensor.copy_(local * value)
        return Work() if async_op else None

    monkeypatch.setattr(distributed, "DistributedDataParallel", lambda _: Parallel(1, 1))
    monkeypatch.setattr(distributed.dist, "all_gather", gather)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 3)
    for device in (torch.device("cuda"), CPU):
        assert isinstance(
            wrap_for_gradients(nn.Linear(1, 1), DistributedContext(device, 0, 3)), Parallel
        )
        assert len(hooks) == (device == CPU)
    bucket = SimpleNamespace(buffer=lambda: torch.tensor([3.0, 6.0]))
    assert hooks[0](None, bucket).wait().tolist() == [1, 2]


def test_a_process_that_leaves_is_in_no_group(tmp_path):
    group = distributed.dist
    group.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    shutdown_distributed()
    assert not group.is_initialized()
