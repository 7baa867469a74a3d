"""Labelled pictures: folders of classes, CIFAR's files, or a packed store, read one at a time.

In: where they are. Out: Pictures for training and validation, and the names of the classes.
Layouts: DIR/train/<class>/... and DIR/val/<class>/... (or validation, or test); a folder of CIFAR's
binary version; a file that prepro.pack wrote.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from prepro.images import open_rgb

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp")
VALIDATION = ("val", "validation", "test")


class Pictures(Protocol):
    """Pictures with their targets: class numbers (N,), or rows (N, C) of a multi-hot matrix."""

    targets: np.ndarray

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def open(self, index: int) -> Image.Image:
        """Raises BadImage."""


@dataclass(frozen=True)
class Files:
    """Picture files and their targets."""

    paths: Sequence[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def open(self, index: int) -> Image.Image:
        return open_rgb(self.paths[index])


@dataclass(frozen=True)
class Data:
    """Pictures to learn from, pictures to judge by, and the names of their classes."""

    train: Pictures
    val: Pictures
    classes: tuple[str, ...]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    """Of the colours, on the scale of 0 to 1, where the data set is known to have its own."""


def open_data(path: str | os.PathLike) -> Data:
    """The data set of a folder or file. Raises FileNotFoundError, ValueError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder of labelled pictures")
    if path.is_file():
        from prepro.pack import open_pack

        return open_pack(path)
    from prepro.pretraining.cifar import is_cifar, open_cifar

    return open_cifar(path) if is_cifar(path) else open_folder(path)


def open_folder(path: Path) -> Data:
    """An ImageFolder tree; the classes are train's folders, sorted."""
    held_out = [path / name for name in VALIDATION if (path / name).is_dir()]
    if not (path / "train").is_dir() or not held_out:
        raise ValueError(f"{path}: no train and val folders of classes in it")
    classes = _classes(path / "train")
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no class folder"
        raise ValueError(f"{path / 'train'}: {found}; two classes or more are needed")
    strange = sorted(set(_classes(held_out[0])) - set(classes))
    if strange:
        raise ValueError(f"{held_out[0]}: classes that train does not have: {strange[0]}")
    return Data(_files(path / "train", classes), _files(held_out[0], classes), classes)


def _classes(folder: Path) -> tuple[str, ...]:
    folders = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _files(folder: Path, classes: Sequence[str]) -> Files:
    paths, targets = [], []
    for number, name in enumerate(classes):
        for root, _, files in os.walk(folder / name, followlinks=True):
            found = [f for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
            paths += [os.path.join(root, file) for file in found]
            targets += [number] * len(found)
    if not paths:
        raise ValueError(f"{folder}: no pictures ({', '.join(EXTENSIONS)})")
    order = sorted(range(len(paths)), key=lambda index: (targets[index], paths[index]))
    return Files([paths[i] for i in order], np.array([targets[i] for i in order], np.int64))
