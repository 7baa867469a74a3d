"""Pieces that processes take: each is done once, two never hold one, a dead holder's is taken."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from prepro.runtime import pieces

ROOT = Path(__file__).resolve().parents[3]
COUNT = 12
WORKER = """
import os, sys, time
from pathlib import Path
from prepro.runtime.pieces import take_pieces

folder, rank, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
paths = [folder / f"piece-{i}" for i in range(12)]
for number in take_pieces(paths, lambda i: paths[i].exists()):
    busy = folder / f"busy-{number}-{rank}"
    busy.touch()
    assert len(list(folder.glob(f"busy-{number}-*"))) == 1, "two hold one piece"
    print(number, flush=True)
    time.sleep(seconds)
    busy.unlink()
    paths[number].touch()
"""


def start(folder: Path, rank: int, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(rank), str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """None here waits for another process; a pause would be followed by more for ever."""

    def sleep(_: float) -> None:
        raise AssertionError("nobody has the pieces that are waited for")

    monkeypatch.setattr(pieces, "time", SimpleNamespace(sleep=sleep, time=time.time))


def test_each_piece_is_done_once(tmp_path: Path) -> None:
    workers = [start(tmp_path, rank, 0.2 if rank == 0 else 0.01) for rank in range(4)]
    outputs = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(int(number) for words in outputs for number in words) == list(range(COUNT))
    pieces.remove_claims([tmp_path / f"piece-{i}" for i in range(COUNT)])
    assert {path.name for path in tmp_path.iterdir()} == {f"piece-{i}" for i in range(COUNT)}


def test_the_piece_of_a_killed_process_is_taken_again(tmp_path: Path) -> None:
    dying = start(tmp_path, 0, 1000)
    assert dying.stdout is not None
    number = int(dying.stdout.readline())
    path = tmp_path / f"piece-{number}"
    assert pieces.is_held(path)
    with pieces.hold(path) as held:
        assert not held
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    assert not pieces.is_held(path)
    with pieces.hold(path) as held:
        assert held
        with pieces.hold(path) as again:
            assert not again
    assert not pieces.is_held(path)


def test_the_holder_on_another_machine_lives_while_it_renews_the_time(tmp_path: Path) -> None:
    path, claim = tmp_path / "piece", tmp_path / ".piece.claim-7"
    claim.write_text("another-machine")
    assert pieces.is_held(path)
    long_ago = time.time() - pieces.TIMEOUT - 1
    os.utime(claim, (long_ago, long_ago))
    with pieces.hold(path) as held:
        assert held and (tmp_path / ".piece.claim-8").exists()
    claim.write_text("")  # given back a moment ago
    (tmp_path / ".piece.claim-8").unlink()
    assert not pieces.is_held(path)


def test_a_holder_renews_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BEAT", 0.01)
    with pieces.hold(tmp_path / "piece"):
        claim = tmp_path / ".piece.claim-1"
        os.utime(claim, (0, 0))
        until = time.monotonic() + 30
        while claim.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert abs(claim.stat().st_mtime - time.time()) < 60


def test_an_error_gives_the_piece_back(tmp_path: Path) -> None:
    path = tmp_path / "piece"
    with pytest.raises(RuntimeError, match="full"), pieces.hold(path):
        raise RuntimeError("the disk is full")
    assert not pieces.is_held(path)


def test_another_machine_sees_that_a_piece_was_given_back(tmp_path, monkeypatch) -> None:
    """It does not see the lock, only the file and its time."""
    with pieces.hold(tmp_path / "piece"):
        pass
    monkeypatch.setattr(pieces.socket, "gethostname", lambda: "another")
    assert not pieces.is_held(tmp_path / "piece")


def test_a_child_process_does_not_keep_the_piece(tmp_path: Path) -> None:
    """A worker that was forked meanwhile has the locked file open."""
    with pieces.hold(tmp_path / "piece"):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert not pieces.is_held(tmp_path / "piece")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("first", "order"), [(None, "0123"), (0, "0123"), (2, "2301"), (9, "0123")]
)
def test_the_search_begins_where_it_is_told(tmp_path: Path, first: int | None, order: str) -> None:
    paths = [tmp_path / f"piece-{i}" for i in range(4)]
    found = ""
    for number in pieces.take_pieces(paths, lambda i: paths[i].exists(), *filter(None, [first])):
        found += str(number)
        paths[number].touch()
    assert found == order


def test_the_last_claim_decides(tmp_path: Path) -> None:
    """By its number: 10 comes after 9."""
    path = tmp_path / "piece"
    (tmp_path / ".piece.claim-9").write_text("another-machine")
    (tmp_path / ".piece.claim-10").write_text("")
    (tmp_path / ".piece.claim-x").write_text("another-machine")
    assert not pieces.is_held(path)
    with pieces.hold(path) as held:
        assert held and (tmp_path / ".piece.claim-11").exists()
    (tmp_path / ".piece.claim-9").write_text("")
    (tmp_path / ".piece.claim-11").write_text("another-machine")
    assert pieces.is_held(path)
    with pieces.hold(path) as held:
        assert not held
    pieces.remove_claims([path])
    assert list(tmp_path.iterdir()) == []


def test_the_faster_process_has_the_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise FileExistsError

    monkeypatch.setattr(pieces.os, "link", link)
    with pieces.hold(tmp_path / "piece") as held:
        assert not held
    assert list(tmp_path.iterdir()) == []


def test_a_piece_of_another_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"piece-{i}" for i in range(3)]
    claim, pauses = tmp_path / ".piece-1.claim-1", []
    claim.write_text("another-machine")

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert paths[0].exists() and paths[2].exists()
        if len(pauses) == 2:
            paths[1].touch()
            claim.write_text("")

    monkeypatch.setattr(pieces.time, "sleep", sleep)
    for number in pieces.take_pieces(paths, lambda i: paths[i].exists()):
        assert number != 1
        paths[number].touch()
    assert len(pauses) == 2


@pytest.mark.parametrize(("age", "held"), [(179.5, True), (180.0, False)])
def test_another_machine_is_dead_after_three_minutes(tmp_path, monkeypatch, age, held) -> None:
    claim = tmp_path / ".piece.claim-1"
    claim.write_text("another-machine")
    os.utime(claim, (1_000_000, 1_000_000))
    monkeypatch.setattr(pieces.time, "time", lambda: 1_000_000 + age)
    assert pieces.is_held(tmp_path / "piece") is held


def test_a_claim_that_is_removed_meanwhile_holds_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pieces, "_claims", lambda _: [tmp_path / ".piece.claim-1"])
    assert not pieces.is_held(tmp_path / "piece")
