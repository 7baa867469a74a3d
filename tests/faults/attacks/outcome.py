"""What a command did with a hostile input, and whether that is allowed.

In: a main function, run in this process. Out: its exit status and what it printed.
"""

import contextlib
import io
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from eval import command

SECONDS = 60.0
ALLOWED = (0, 1, 2)


class Outcome(NamedTuple):
    status: int
    out: str
    err: str
    seconds: float

    @property
    def fault(self) -> str | None:
        """Why this is not allowed: a traceback, a status, a message of many lines; None if it is.

        A failure that the program did not foresee ends in the words of eval.command's last net.
        """
        if self.status not in ALLOWED:
            return f"exit status {self.status}"
        if "Traceback" in self.err:
            return "a traceback"
        if "CAPTION_DEBUG=1 shows where" in self.err:
            return f"not foreseen: {self.err.strip().splitlines()[-1][:200]}"
        if self.status == 2 and len(self.err.strip().splitlines()) > 40:
            return "many lines"
        if any(not (c.isprintable() or c in "\n\t") for c in self.out + self.err):
            return "control characters in the output"
        return f"{self.seconds:.0f} seconds" if self.seconds > SECONDS else None


def run(main: Callable[[], int | None]) -> Outcome:
    """Run a command's main function as the command line does."""
    out, err, started = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = command.finish(main)
        except BaseException:  # nothing may leave `finish`
            traceback.print_exc()
            status = 99
    return Outcome(status, out.getvalue(), err.getvalue(), time.perf_counter() - started)
