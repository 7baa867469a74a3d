"""Freed memory serves the next tensor: a large one costs few page faults after the first."""

import ctypes
import os
import subprocess
import sys

import pytest

from prepro.runtime import malloc

PROGRAM = """
import resource, torch
from prepro.runtime.malloc import keep_freed_memory
kept = keep_freed_memory()
torch.ones(16_000_000)  # 64 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for smaller in range(1, 9):
    torch.ones(16_000_000 - 100 * smaller)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**environment: str) -> tuple[int, int]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=plain | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    kept, faults = done.stdout.split()
    return int(kept), int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc of Linux")
def test_freed_memory_is_used_again():
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this libc has no mallopt")
    kept, faults = run()
    assert kept and faults < 40_000  # of 125,000 pages


def test_the_users_choice_stays():
    assert run(MALLOC_TRIM_THRESHOLD_="131072")[0] == 0


class Libc:
    """A C library whose mallopt refuses one option."""

    def __init__(self, refused: int = 0) -> None:
        self.refused, self.calls = refused, []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return int(option != self.refused)


def test_other_systems_are_left_alone(monkeypatch):
    """-4 is M_MMAP_MAX and -1 M_TRIM_THRESHOLD in glibc's malloc.h."""
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for platform, libc, kept in (
        ("linux", Libc(), True), ("linux", Libc(refused=-4), False), ("darwin", Libc(), False),
        ("linux", Libc(refused=-1), False), ("linux", object(), False),
    ):  # fmt: skip
        monkeypatch.setattr(malloc.sys, "platform", platform)
        monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _, libc=libc: libc)
        assert malloc.keep_freed_memory() is kept
        if kept:
            assert libc.calls == [(-4, 0), (-1, 2**31 - 1)]
        if platform == "darwin":
            assert libc.calls == []
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: Libc())
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    assert malloc.keep_freed_memory() is False
