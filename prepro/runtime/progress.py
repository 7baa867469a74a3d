"""One bar with pictures/s, the time left and the bad ones; a line now and then where no one looks.

On a terminal tqdm draws it; elsewhere a line every 30 seconds goes to stderr.
"""

import sys
import time

from tqdm import tqdm

EVERY = 30.0  # seconds between lines in a log file


class Progress:
    """Counts pictures of `total`; use as a context manager."""

    def __init__(self, total: int, name: str = "features") -> None:
        self.total, self.name, self.done, self.bad = total, name, 0, 0
        self.start = self.told = time.monotonic()
        self.bar = tqdm(total=total, desc=name, unit="picture", disable=not sys.stderr.isatty())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def add(self, good: int, bad: int = 0) -> None:
        self.done, self.bad = self.done + good + bad, self.bad + bad
        self.bar.update(good + bad)
        if bad:
            self.bar.set_postfix(bad=self.bad)
        now = time.monotonic()
        if self.bar.disable and now - self.told >= EVERY:
            self.told = now
            print(self.line(now - self.start), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """`features: 1,200 of 8,000 pictures, 40.0 a second, 170 s left, 2 bad`."""
        rate = self.done / max(seconds, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        return (
            f"{self.name}: {self.done:,} of {self.total:,} pictures, {rate:,.1f} a second, "
            f"{left:,.0f} s left, {self.bad:,} bad"
        )
