"""Annotations that are read as a stream: tar shards and TSV files of captions.

In: files. Out: ImageRecord after ImageRecord. A split is a word of the file's name, or of a shard's
folder in the picture folder (train-00000.tar, val/00000.tar); without one it is "".
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from prepro.annotations import tar_shards, tsv
from prepro.annotations.braces import expand_braces
from prepro.annotations.defects import Defects
from prepro.annotations.formats import flickr, folder
from prepro.annotations.reader import split_in_name
from prepro.annotations.records import ImageRecord
from prepro.remote import RemotePath, typed
from prepro.runtime.progress_bar import ProgressBar


def expanded(files: Sequence[Path]) -> list[Path]:
    """The files, those in braces expanded; addresses are RemotePath. ValueError of `typed`."""
    names = (name for file in files for name in expand_braces(str(file)))
    return list(map(typed, names))


def is_streamed(files: Sequence[Path]) -> bool:
    """Whether the files are shards or TSV files. ValueError if only some are, FileNotFoundError."""
    kinds = [_is_stream(file) for file in files]
    if any(kinds) and not all(kinds):
        other = files[kinds.index(False)]
        raise ValueError(f"{other}: neither .tar nor .tsv; convert it alone (--annotations)")
    return any(kinds)


def _is_stream(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix not in (".tar", ".tsv"):
        return False
    if isinstance(file, RemotePath):
        return True
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file (--annotations)")
    other_format = suffix == ".tsv" and (folder.matches(file, None) or flickr.matches(file, None))
    return not other_format


def read(files: Sequence[Path], images: Path, defects: Defects) -> Iterator[ImageRecord]:
    """Every picture with captions. ValueError for a shard that does not lie in `images`."""
    prefixes = [_prefix(file, images) for file in files]
    with ProgressBar(len(files), "files") as progress:
        for file, prefix in zip(files, prefixes, strict=True):
            split = split_in_name(file.stem) or split_in_name(Path(prefix).parent.name)
            if file.suffix.lower() == ".tar":
                yield from tar_shards.read(file, prefix, split, defects)
            else:
                yield from tsv.read(file, images, split, defects)
            progress.add(1)


def _prefix(file: Path, images: Path) -> str:
    """The path of a shard in the picture folder, by which its pictures are found."""
    if file.suffix.lower() != ".tar":
        return ""
    resolved, root = file.resolve(), images.resolve()
    if not resolved.is_relative_to(root):
        raise ValueError(
            f"{file}: not in the picture folder {images}, where its pictures are read; "
            "give the folder of the shards as --images"
        )
    return resolved.relative_to(root).as_posix()
