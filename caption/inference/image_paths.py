"""Which pictures a user means: files, folders, patterns, or - for a list on stdin.

In: the words of a command line. Out: the files' names. Free of torch.
"""

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path


def image_paths(names: Sequence[str]) -> Iterator[str]:
    """Every file that is meant, in order. ValueError or FileNotFoundError for what means none."""
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
                raise FileNotFoundError(f"{name}: matches no file")
            yield from found
        else:
            raise FileNotFoundError(f"{name}: no such picture")


def images_in_folder(folder: Path) -> list[Path]:
    """The pictures of a folder, by name. FileNotFoundError where it has none."""
    from prepro.images import EXTENSIONS

    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if not found:
        raise FileNotFoundError(f"{folder}: no pictures in this folder")
    return found
