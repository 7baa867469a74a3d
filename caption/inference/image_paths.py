"""The image files that a command line names: files, folders, patterns, or - for a list on stdin.

In: the words of a command line. Out: file names. Free of torch.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def image_paths(names: Sequence[str]) -> Iterator[str]:
    """Yields every file, in order, and each name, folder and pattern that has none.

    FileNotFoundError for a folder without pictures, if nothing else is named.
    """
    for name in names:
        if name == "-":
            yield from (line.rstrip("\n") for line in sys.stdin or () if line.strip())
        elif Path(name).is_dir():
            try:
                found = images_in_folder(Path(name))
            except OSError:
                if len(names) == 1:
                    raise
                found = [Path(name)]  # the others are captioned
            yield from map(str, found)
        elif not os.path.exists(name) and glob.has_magic(name):
            yield from sorted(glob.glob(name, recursive=True)) or [name]
        else:
            yield name


def images_in_folder(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name. FileNotFoundError if there are none."""
    from prepro.images import EXTENSIONS

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise FileNotFoundError(f"{folder}: this folder contains no pictures")
    return found
