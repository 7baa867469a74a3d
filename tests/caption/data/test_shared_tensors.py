"""Processes of one machine hold one copy of the features; a machine more holds one more."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caption.data import shared_tensors
from prepro.runtime.distributed import SINGLE_PROCESS, DistributedContext

ROOT = Path(__file__).resolve().parents[3]
SIZE = 20_000_000  # bytes
PROGRAM = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from caption.data import shared_tensors
from prepro.runtime.distributed import all_gather, init_distributed

folder, size, wrong = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "wrong"
shared_tensors.SHARED_MEMORY = folder
context, filled = init_distributed("cpu"), []

def fill(tensors):
    filled.append(context.rank)
    if wrong:
        raise ValueError("row 7 is damaged")
    for number, tensor in enumerate(tensors):
        tensor.fill_(number + context.rank + 1)

try:
    tensors = shared_tensors.shared_tensors(context, [(3,), (size // 2 - 3,)], torch.float16, fill)
    sums = [float(tensor.float().mean()) for tensor in tensors]
except ValueError as error:
    sums = str(error)
all_gather(context, None)  # all have read all pages
memory = 0
for block in Path("/proc/self/smaps").read_text().split("VmFlags")[:-1]:
    if str(folder) in block:
        memory += 1024 * int(block.partition("\\nPss:")[2].split()[0])
all_gather(context, None)
print(json.dumps([filled, sums, memory]))
"""


def run(folder: Path, local_ranks: list[int], mode: str = "right") -> list:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(len(local_ranks)),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(SIZE), mode],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(local)},
            stdout=subprocess.PIPE, text=True,
        )
        for rank, local in enumerate(local_ranks)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert list(folder.iterdir()) == []
    return [json.loads(output) for output in outputs]


def test_a_machine_holds_one_copy(tmp_path: Path) -> None:
    """Ranks 0 and 1 are one machine, rank 2 is another."""
    (filled0, sums0, memory0), (filled1, sums1, memory1), (filled2, sums2, memory2) = run(
        tmp_path, [0, 1, 0]
    )
    assert (filled0, filled1, filled2) == ([0], [], [2])
    assert sums0 == sums1 == [1, 2] and sums2 == [3, 4]
    assert abs(memory0 + memory1 - SIZE) < 100_000 and abs(memory0 - memory1) < 100_000
    assert abs(memory2 - SIZE) < 100_000


def test_an_error_is_raised_in_every_process(tmp_path: Path) -> None:
    results = run(tmp_path, [0, 1], "wrong")
    assert [result[1] for result in results] == ["row 7 is damaged"] * 2


def test_without_room_each_process_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_tensors, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert shared_tensors._reserve(1 << 60) == "" and list(tmp_path.iterdir()) == []


def test_reserved_room_keeps_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_tensors, "SHARED_MEMORY", tmp_path)
    before = os.listdir("/proc/self/fd")
    path = Path(shared_tensors._reserve(5000))
    assert path.parent == tmp_path and path.stat().st_size == 5000
    assert os.listdir("/proc/self/fd") == before


def test_one_process_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_tensors, "_reserve", None)
    (found,) = shared_tensors.shared_tensors(
        SINGLE_PROCESS, [(2, 3)], torch.float16, lambda tensors: tensors[0].fill_(5)
    )
    assert found.tolist() == [[5] * 3] * 2


def test_two_processes_map_a_file_of_just_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a name until both have opened it; the second process says nothing here."""
    monkeypatch.setattr(shared_tensors, "SHARED_MEMORY", tmp_path)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    seen = []

    def all_gather(_: DistributedContext, value: object) -> list:
        seen.append([path.stat().st_size for path in tmp_path.iterdir()])
        return [value, None]

    monkeypatch.setattr(shared_tensors, "all_gather", all_gather)
    context = DistributedContext(torch.device("cpu"), 0, 2)
    one, two = shared_tensors.shared_tensors(
        context, [(2, 3), (5,)], torch.float16, lambda tensors: [t.fill_(4) for t in tensors]
    )
    assert seen == [[22], [22], []], "its path, that it is open, that it is filled"
    assert one.shape == (2, 3) and two.shape == (5,) and bool((one == 4).all() & (two == 4).all())
    assert one.untyped_storage().data_ptr() == two.untyped_storage().data_ptr()


def test_where_one_machine_has_no_room_every_process_fills_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_tensors, "SHARED_MEMORY", tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    answers = iter([["", None], [None, None]])
    monkeypatch.setattr(shared_tensors, "all_gather", lambda *_: next(answers))
    context = DistributedContext(torch.device("cpu"), 1, 2)
    (found,) = shared_tensors.shared_tensors(
        context, [(3,)], torch.float32, lambda tensors: tensors[0].fill_(7)
    )
    assert found.tolist() == [7, 7, 7] and list(tmp_path.iterdir()) == []
