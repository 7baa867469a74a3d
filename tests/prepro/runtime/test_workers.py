"""Workers of a process that was killed end too, also in the middle of an item."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PARENT = """
import os, time
from prepro.extraction.image_loader import make_loader

class Endless:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        print(os.getpid(), flush=True)
        time.sleep(3600)

next(iter(make_loader(Endless(), workers=1)))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed elsewhere")
def test_a_worker_ends_with_its_parent_and_not_by_ctrl_c():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    worker = int(parent.stdout.readline())
    niceness = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (worker, parent.pid)]
    assert niceness[0] > niceness[1] or niceness == [19, 19]  # the parent comes first
    os.kill(worker, signal.SIGINT)
    time.sleep(0.2)
    assert is_running(worker)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < until:
        time.sleep(0.05)
    ended = not is_running(worker)
    if not ended:
        os.kill(worker, signal.SIGKILL)
    assert ended


def is_running(pid):
    """Whether the process exists and is no zombie, which waits for a parent to ask for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_of_a_forkserver_have_what_it_imported_and_are_no_children_of_this_process():
    program = (
        "import os; from prepro.runtime.workers import forkserver\n"
        "with forkserver(['colorsys']).Pool(1) as pool:\n"
        """    print(pool.apply(eval, ("'colorsys' in __import__('sys').modules",)))\n"""
        "    print(pool.apply(os.getppid) != os.getpid())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["True", "True"]
