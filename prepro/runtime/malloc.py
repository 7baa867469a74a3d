"""On a CPU, memory of freed tensors serves the next tensors instead of going back to the system.

In: nothing. Out: a setting of this process. glibc maps every large block anew and unmaps it when it
is freed, so that the system clears each page of each large tensor again: up to half of the time of
a training step. Kept, the memory of the process stays at its largest size.
"""

import ctypes
import os
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Set glibc's malloc to keep what is freed. False where there is no glibc, or the user chose
    (MALLOC_MMAP_MAX_ or MALLOC_TRIM_THRESHOLD_ in the environment)."""
    if not sys.platform.startswith("linux") or any(
        name in os.environ for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
    ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # another libc may lack it
    if mallopt is None:
        return False
    return mallopt(MMAP_MAX, 0) == 1 == mallopt(TRIM_THRESHOLD, LARGEST)
