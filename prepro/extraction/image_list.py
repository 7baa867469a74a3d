"""The images of a data folder, without their captions, which would take most of the memory.

In: the folder that prepro.labels wrote. Out: names and ids in order, and their hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prepro.storage.label_file import read_labels


@dataclass(frozen=True)
class ImageList:
    """N images; `sha256` is their label_file.images_sha256."""

    root: Path
    names: Sequence[str]
    ids: Sequence[int | str]
    sha256: str

    def __len__(self) -> int:
        return len(self.names)


def read_image_list(folder: Path) -> ImageList:
    """Raises the errors of read_labels."""
    labels = read_labels(folder)
    names, ids = [], []
    for record in labels.records:  # of a tar file, the path is the id, and is kept once
        names.append(record.path)
        ids.append(record.path if record.id == record.path else record.id)
    return ImageList(labels.image_root, names, ids, labels.images_sha256)
