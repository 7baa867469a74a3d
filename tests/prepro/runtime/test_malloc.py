"""Freed memory serves the next tensor: a large one costs few page faults after the first."""

import ctypes
import os
import subprocess
import sys

import pytest

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
