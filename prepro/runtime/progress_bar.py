"""One progress bar for all commands: on a terminal, in 80 columns; silent elsewhere.

with ProgressBar(len(images), "features") as progress:
    progress.add(16)
    progress.add(15, bad=1)
"""

import sys

from tqdm import tqdm

FORMAT = "{desc} {percentage:3.0f}% |{bar:8}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"


class ProgressBar:
    """Counts the items of `total` that are done; use it as a context manager.

    initial: how many were done before this process. enabled: False on all processes but one, which
    then print nothing.
    """

    def __init__(self, total: int, name: str, initial: int = 0, enabled: bool = True) -> None:
        self.enabled, self.bad, self.status = enabled, 0, ""
        self.bar = tqdm(
            total=total, initial=initial, desc=name, bar_format=FORMAT, dynamic_ncols=True,
            unit_scale=total >= 100_000, leave=False, disable=not (enabled and sys.stderr.isatty()),
        )  # fmt: skip

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        shown = not self.bar.disable  # which close() sets
        self.bar.close()
        if shown:
            sys.stderr.write("\r\x1b[K")  # the ^C that a terminal wrote beside the bar
            sys.stderr.flush()

    def add(self, good: int, bad: int = 0, status: str | None = None) -> None:
        """Count items. `status`, such as "loss 1.563", is shown until the next one."""
        self.bad += bad
        if status is not None:
            self.status = status
        if bad or status is not None:
            shown = (self.status, f"{self.bad:,} bad" if self.bad else "")
            self.bar.set_postfix_str(", ".join(filter(None, shown)), refresh=False)
        self.bar.update(good + bad)

    def print(self, text: str) -> None:
        """Print a line to stderr, above the bar."""
        if self.enabled:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()
