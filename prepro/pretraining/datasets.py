"""Open a data set of any kind: folders of classes, CIFAR's files or a file of prepro.pack.

In: a path. Out: a LabelledDataset, whose images are read one at a time.
"""

import os
from pathlib import Path

from prepro.pretraining.cifar import is_cifar, open_cifar
from prepro.pretraining.dataset import LabelledDataset
from prepro.pretraining.image_folder import open_folder
from prepro.pretraining.packed_images import open_pack


def open_dataset(path: str | os.PathLike) -> LabelledDataset:
    """The data set of a folder or file. Raises FileNotFoundError, ValueError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder or file of labelled pictures")
    if path.is_file():
        return open_pack(path)
    return open_cifar(path) if is_cifar(path) else open_folder(path)
