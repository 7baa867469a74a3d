"""Labelled pictures: folders of classes, CIFAR's files, or a packed store, read one at a time.

In: where they are. Out: pictures for training and validation, and the names of the classes.
"""

import os
from pathlib import Path

from prepro.pretraining.cifar import is_cifar, open_cifar
from prepro.pretraining.dataset import Data
from prepro.pretraining.image_folder import open_folder
from prepro.pretraining.packed_images import open_pack


def open_data(path: str | os.PathLike) -> Data:
    """The data set of a folder or file. Raises FileNotFoundError, ValueError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder of labelled pictures")
    if path.is_file():
        return open_pack(path)
    return open_cifar(path) if is_cifar(path) else open_folder(path)
