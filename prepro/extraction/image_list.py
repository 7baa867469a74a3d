"""Which pictures a data folder lists, without what people said of them, which takes most memory.

In: the folder that prepro.labels made. Out: names and ids in order, and their hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prepro.storage.label_file import read_labels


@dataclass(frozen=True)
class ImageList:
    """N pictures; `sha256` is label_file.images_sha256 of them."""

    root: Path
    names: Sequence[str]
    ids: Sequence[int | str]
    sha256: str

    def __len__(self) -> int:
        return len(self.names)


def read_image_list(folder: Path) -> ImageList:
    """Raises what read_labels does."""
    labels = read_labels(folder)
    names, ids = zip(*((record.path, record.id) for record in labels.records), strict=True)
    return ImageList(labels.image_root, names, ids, labels.images_sha256)
