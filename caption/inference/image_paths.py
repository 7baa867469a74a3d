"""The image files that a command line names: files, folders, patterns, or - for a list on stdin.

In: the words of a command line. Out: file names. Free of torch.
"""

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def image_paths(names: Sequence[str]) -> Iterator[str]:
    """Yields every file, in order. ValueError or FileNotFoundError for a name without a file."""
    for name in names:
        if name == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif Path(name).is_dir():
            yield from map(str, images_in_folder(Path(name)))
        elif Path(name).exists():
            yield name
        elif glob.has_magic(name):
            found = sorted(glob.glob(name, recursive=True))
            if not found:
                raise FileNotFoundError(f"{name}: no file matches this pattern")
            yield from found
        else:
            raise FileNotFoundError(f"{name}: no such picture")


def images_in_folder(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name. FileNotFoundError if there are none."""
    from prepro.images import EXTENSIONS

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise FileNotFoundError(f"{folder}: this folder contains no pictures")
    return found
