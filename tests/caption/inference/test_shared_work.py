"""Captions by several processes of which one dies: the other does its piece and joins all."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from caption import generate
from caption.inference.partial_results import PartialResults
from caption.inference.shared_work import _pieces
from tests.caption import tiny_runs as maker

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, sys, time
from pathlib import Path
from caption import generate
from caption.inference.caption_ensemble import CaptionEnsemble
from eval import command

hanging = Path(sys.argv.pop())

def hang(*rest, **more):
    hanging.touch()
    time.sleep(1000)

if os.environ["RANK"] == "0":
    CaptionEnsemble.decode = hang
sys.argv[0] = "caption.generate"
sys.exit(command.run(generate.Options, generate.main))
"""


def start(rank: int, port: int, words: list) -> subprocess.Popen:
    """As torchrun would."""
    environment = {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": str(port),
        "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)], env=os.environ | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_piece_of_a_killed_process_is_captioned_by_the_other(tmp_path: Path) -> None:
    tiny = maker.make(tmp_path / "tiny", ("topdown",))
    out, run, hanging = tmp_path / "results.json", tiny.runs["topdown"], tmp_path / "hanging"
    words = ["--run", run, "--out", out, "--batch-size", 2, "--device", "cpu", hanging]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dying, other = (start(rank, port, words) for rank in (0, 1))
    until = time.monotonic() + 200
    while not hanging.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert other.poll() is None and not out.exists()  # it waits for the piece of the other
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    text, err = other.communicate(timeout=120)
    assert (other.returncode, text) == (0, f"{out}: 6 captions\n"), err
    whole = tmp_path / "whole.json"
    assert generate.main(generate.Options(whole, (run,), device="cpu", batch_size=2)) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("batches", [0, 1, 7, 100, 2466])
@pytest.mark.parametrize("world", [1, 2, 64])
def test_pieces_hold_every_batch_once(batches: int, world: int) -> None:
    pieces = _pieces(batches, world)
    assert [number for piece in pieces for number in piece] == list(range(batches))
    assert world == 1 or all(len(piece) <= 8 for piece in pieces)
    if world == 1:
        assert len(pieces) == min(batches, 1)  # what one process reads ahead is never interrupted
    assert world == 1 or len(pieces) >= min(batches, 8 * world)


def test_finished_batches_of_all_processes_are_seen_as_they_come(tmp_path: Path) -> None:
    one, two = (PartialResults(tmp_path / "results.json", "same", rank) for rank in (0, 1))
    other = PartialResults(tmp_path / "results.json", "other settings", 2)
    with one.lock(), two.lock(), other.lock():
        assert one.finished() == set()
        two.write(4, [{"caption": "a dog"}])
        other.write(5, [])
        assert one.finished() == {4}
        with open(two.own_file, "a") as file:
            file.write('{"key": "torn')
        assert one.finished() == {4}
        two.write(6, [])
        one.write(0, [])
        assert one.finished() == {0, 4, 6} == set(two.done()) == two.finished()
        assert not one.is_joined()
        two.remove()
        assert one.is_joined() and two.is_joined()
