"""Download a public data set, check it and unpack it; a stopped download goes on.

    python -m prepro.download coco --out data/coco
    python -m prepro.download karpathy --out data/karpathy

In: addresses from one table, prepro/downloads/archives.py. Out: the files below --out. Archives are
fetched several at once, checked by size and hash, unpacked and removed.
"""

import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from eval import command
from eval.files import write_text

if TYPE_CHECKING:
    from prepro.downloads.archives import Archive, DataSet

LANES = 3  # archives at once
NAMES = Literal[
    "coco", "karpathy", "flickr8k-splits", "flickr8k", "flickr30k", "conceptual-captions"
]


@dataclass(frozen=True)
class Options:
    """Download a public data set, check it and unpack it.

    A stopped download goes on when the same command runs again.

    Example: python -m prepro.download coco --out data/coco
    """

    name: Annotated[NAMES, tyro.conf.Positional]
    """coco (pictures and captions of 2014, with Karpathy's split), karpathy (captions and splits of
    COCO, Flickr8k and Flickr30k) or flickr8k-splits; for the others it says who has them"""
    out: Path
    """the folder; archives are removed when they are unpacked"""
    dry_run: bool = False
    """say what would be downloaded, and stop"""


def main(options: Options) -> None:
    from prepro.downloads.archives import BY_REQUEST, DATA_SETS

    if options.name in BY_REQUEST:
        raise ValueError(
            f"{options.name}: its owners give the pictures to those who ask: "
            f"{BY_REQUEST[options.name]}"
        )
    data = DATA_SETS[options.name]
    if not options.dry_run:
        options.out.mkdir(parents=True, exist_ok=True)
    missing = _announce(data, options.out)
    if options.dry_run:
        return
    free = shutil.disk_usage(options.out).free
    if missing > free:
        raise RuntimeError(f"{options.out}: {missing:,} bytes are needed, {free:,} are free")
    waiting = [archive for archive in data.archives if not _is_unpacked(archive, options.out)]
    failed = _Download(options.out).run(waiting)
    if failed:
        raise RuntimeError(
            f"{failed} of {len(waiting)} archives failed; the same command tries them again"
        )
    print(options.out)
    print("next: " + data.next_command.format(out=shlex.quote(str(options.out))), file=sys.stderr)


def _announce(data: "DataSet", out: Path) -> int:
    """Say what is fetched and what it needs. Returns the bytes of disk that are still missing."""
    from prepro.downloads.fetch import arrived

    missing = 0
    for archive in data.archives:
        done = _is_unpacked(archive, out)
        print(f"{archive.url}  {'there' if done else f'{archive.size:,} bytes'}", file=sys.stderr)
        if not done:
            missing += archive.size - arrived(archive, out) + archive.unpacked
    print(f"disk until it is unpacked: {missing / 1e9:.2f} GB. {data.terms}", file=sys.stderr)
    return missing


class _Download:
    """Archives that are fetched and unpacked side by side, with one progress bar."""

    def __init__(self, out: Path) -> None:
        self.out, self.lock, self.stopped = out, threading.Lock(), False

    def run(self, archives: "Sequence[Archive]") -> int:
        """Fetch and unpack them all. Returns how many failed; each has said why."""
        from prepro.runtime.progress_bar import ProgressBar

        total = sum(archive.size + archive.unpacked for archive in archives)
        with ProgressBar(total, "download") as self.progress, ThreadPoolExecutor(LANES) as lanes:
            futures = [lanes.submit(self._fetch_and_unpack, archive) for archive in archives]
            try:
                return sum(not future.result() for future in futures)
            finally:
                self.stopped = True  # after Ctrl-C; otherwise nothing is running any more

    def _fetch_and_unpack(self, archive: "Archive") -> bool:
        from prepro.downloads.fetch import fetch
        from prepro.downloads.unpack import unpack

        try:
            path = fetch(archive, self.out, self._report)
            files = unpack(archive, path, self.out, self._report)
            write_text(_record(archive, self.out), "\n".join(archive.members))
            path.unlink()
        except (OSError, RuntimeError, ValueError) as error:
            if not self.stopped:
                self.progress.print(f"prepro.download: {error}")
            return False
        self.progress.print(f"{archive.name}: {files:,} files")
        return True

    def _report(self, count: int) -> None:
        if self.stopped:
            raise RuntimeError("stopped")
        with self.lock:
            self.progress.add(count)


def _record(archive: "Archive", out: Path) -> Path:
    """The file that lists the members of an archive that have been unpacked."""
    return out / f".{archive.name}.unpacked"


def _is_unpacked(archive: "Archive", out: Path) -> bool:
    record = _record(archive, out)
    return record.exists() and set(archive.members) <= set(record.read_text("utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
