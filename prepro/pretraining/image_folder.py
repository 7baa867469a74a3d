"""Folders of classes, torchvision's ImageFolder layout.

In: DIR/train/<class>/... and DIR/val/<class>/... (or validation, or test). Out: a LabelledDataset.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from prepro.images import EXTENSIONS, open_rgb
from prepro.pretraining.dataset import LabelledDataset

VALIDATION = ("val", "validation", "test")


@dataclass(frozen=True)
class ImageFiles:
    """Image files and their targets."""

    paths: Sequence[str]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index]

    def open(self, index: int) -> Image.Image:
        return open_rgb(self.paths[index])


def open_folder(path: Path) -> LabelledDataset:
    """The classes are the folders in train, sorted. ValueError for a folder of another layout."""
    held_out = [path / name for name in VALIDATION if (path / name).is_dir()]
    if not (path / "train").is_dir() or not held_out:
        raise ValueError(
            f"{path}: no train and val folders of classes in it; "
            "expected train/CLASS/*.jpg and val/CLASS/*.jpg"
        )
    classes = _classes(path / "train")
    if len(classes) < 2:
        found = f"one class, {classes[0]}" if classes else "no class folder"
        raise ValueError(f"{path / 'train'}: {found}; at least two classes are needed")
    unknown = sorted(set(_classes(held_out[0])) - set(classes))
    if unknown:
        raise ValueError(f"{held_out[0]}: classes that train does not have: {unknown[0]}")
    return LabelledDataset(_files(path / "train", classes), _files(held_out[0], classes), classes)


def _classes(folder: Path) -> tuple[str, ...]:
    folders = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return tuple(sorted(name for name in folders if not name.startswith(".")))


def _files(folder: Path, classes: Sequence[str]) -> ImageFiles:
    paths, targets = [], []
    for number, name in enumerate(classes):
        for root, _, files in os.walk(folder / name, followlinks=True):
            found = [f for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
            paths += [os.path.join(root, file) for file in found]
            targets += [number] * len(found)
    if not paths:
        raise ValueError(f"{folder}: no pictures ({', '.join(EXTENSIONS)})")
    order = sorted(range(len(paths)), key=lambda index: (targets[index], paths[index]))
    return ImageFiles([paths[i] for i in order], np.array([targets[i] for i in order], np.int64))
