"""A progress bar on a terminal; elsewhere a line on stderr every 30 seconds.

with Progress(len(images), "features") as progress:
    progress.add(16)
    progress.add(15, bad=1)
"""

import sys
import time

from tqdm import tqdm

LINE_INTERVAL = 30.0  # seconds between two lines where stderr is no terminal


class Progress:
    """Counts the items of `total` that are done; use it as a context manager.

    unit: what is counted, in the plural. initial: how many were done before this process.
    enabled: False on all processes but one, which then print nothing.
    """

    def __init__(
        self, total: int, name: str = "features", unit: str = "pictures", initial: int = 0,
        enabled: bool = True,
    ) -> None:  # fmt: skip
        self.total, self.name, self.unit, self.enabled = total, name, unit, enabled
        self.initial, self.done, self.bad, self.status = initial, initial, 0, ""
        self.start = self.last_line = time.monotonic()
        self.bar = tqdm(
            total=total, initial=initial, desc=name, unit=f" {unit}", dynamic_ncols=True,
            disable=not (enabled and sys.stderr.isatty()),
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def add(self, good: int, bad: int = 0, status: str | None = None) -> None:
        """Count items. `status`, such as "loss 1.563", is shown until the next one."""
        self.done, self.bad = self.done + good + bad, self.bad + bad
        if status is not None:
            self.status = status
        if bad or status is not None:
            self.bar.set_postfix_str(self._postfix(), refresh=False)
        self.bar.update(good + bad)
        now = time.monotonic()
        if self.enabled and self.bar.disable and now - self.last_line >= LINE_INTERVAL:
            self.last_line = now
            self.print(self.line(now - self.start))

    def print(self, text: str) -> None:
        """Print a line to stderr, above the bar."""
        if self.enabled:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def line(self, seconds: float) -> str:
        """`features: 1,200 of 8,000 pictures, 40.0 a second, 170 s left, 2 bad`."""
        rate = (self.done - self.initial) / max(seconds, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        text = f"{self.name}: {self.done:,} of {self.total:,} {self.unit}, {rate:,.1f} a second, "
        return ", ".join(filter(None, (text + f"{left:,.0f} s left", self._postfix())))

    def _postfix(self) -> str:
        return ", ".join(filter(None, (self.status, f"{self.bad:,} bad" if self.bad else "")))
