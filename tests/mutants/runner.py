"""Runs tests again and again, each time in a child of a process that has imported PyTorch once.

In: a source tree, ids of tests, a limit. Out: whether they passed. An import of PyTorch, pytest and
the other libraries takes longer than most tests; a fork does not.
"""

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LIBRARIES = (
    "PIL.Image", "h5py", "hypothesis.strategies", "nltk", "pytest", "safetensors.torch",
    "scipy.stats", "torch._dynamo", "torch.distributed", "torch.utils.data", "tyro",
)  # fmt: skip
"""that tests import and that take long"""
ARGUMENTS = ["-q", "-m", "not slow", "-p", "no:cacheprovider"]


class Runner:
    """Runs the tests of a source tree; use it in a `with` statement."""

    def __init__(self, tree: Path, environment: dict[str, str]) -> None:
        self.names = tree.parent / "tests.txt"
        # bytecode of a changed file could be taken for that of the next, changed in the same second
        environment = environment | {"PYTHONDONTWRITEBYTECODE": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-m", __name__, self.names],
            cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *error: object) -> None:
        self.server.communicate()

    def run(self, tests: list[str], seconds: int) -> str:
        """Runs tests until one fails: "passed", "failed" or "too long"."""
        self.names.write_text("\n".join(tests), encoding="utf-8")
        self.server.stdin.write(f"{seconds}\n")
        self.server.stdin.flush()
        return self.server.stdout.readline().strip()


def serve(names: str) -> None:
    """Runs the tests named in a file for each line of stdin, a limit in seconds."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # what is here now need not be looked through by each child
    run = sys.modules["pytest"].main
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.setsid()  # what the tests start ends with them
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            os._exit(run([*ARGUMENTS, "-p", "no:anyio", "-x", f"@{names}"]))
        print(_outcome(child, float(line)), flush=True)


def _outcome(child: int, seconds: float) -> str:
    """Waits for a child, at most so long, and ends what is left of its session."""
    end = time.monotonic() + seconds
    status = None
    while status is None and time.monotonic() < end:
        time.sleep(0.02)
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
        return "too long"
    return "failed" if status else "passed"


if __name__ == "__main__":
    serve(sys.argv[1])
