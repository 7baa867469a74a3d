"""CIFAR-10 and CIFAR-100 from their files, the binary version.

In: the folder that cifar-10-binary.tar.gz or cifar-100-binary.tar.gz unpacks to. Out: a
LabelledDataset. The "python version" is refused: it is a pickle, which can execute any code.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from prepro.pretraining.dataset import LabelledDataset

PLANES = 3 * 32 * 32
KINDS = {  # training files, test file, label bytes a row, file of class names
    10: ([f"data_batch_{n}.bin" for n in range(1, 6)], "test_batch.bin", 1, "batches.meta.txt"),
    100: (["train.bin"], "test.bin", 2, "fine_label_names.txt"),
}
COLOURS = {  # mean and standard deviation on the scale of 0 to 255, from fb.resnet.torch
    10: ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
    100: ((129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
}


@dataclass(frozen=True)
class ImageArrays:
    """Images in memory, uint8 (N, 3, H, W), and their class indices (N,)."""

    pixels: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index].transpose(1, 2, 0))


def is_cifar(folder: Path) -> bool:
    """Whether the folder holds CIFAR's files. Raises ValueError for the python version."""
    if (folder / "batches.meta").exists() or (folder / "meta").exists():
        raise ValueError(
            f"{folder}: CIFAR's python version is a pickle; download the binary version"
        )
    return any((folder / test).exists() for _, test, _, _ in KINDS.values())


def open_cifar(folder: Path) -> LabelledDataset:
    """Training and test images and the class names. Raises ValueError, FileNotFoundError."""
    kind = 10 if (folder / KINDS[10][1]).exists() else 100
    train, test, labels, meta = KINDS[kind]
    names = tuple((folder / meta).read_text().split())
    if len(names) != kind:
        raise ValueError(f"{folder / meta}: {len(names)} class names, expected {kind}")
    splits = [_read([folder / name for name in files], labels, kind) for files in (train, [test])]
    mean, std = (tuple(value / 255 for value in row) for row in COLOURS[kind])
    train, val = splits
    return LabelledDataset(train, val, names, mean, std)


def _read(paths: list[Path], labels: int, kind: int) -> ImageArrays:
    rows = []
    for path in paths:
        data = np.fromfile(path, np.uint8)
        if len(data) == 0 or len(data) % (labels + PLANES):
            raise ValueError(
                f"{path}: {len(data)} bytes are no whole number of CIFAR's rows; download it again"
            )
        rows.append(data.reshape(-1, labels + PLANES))
    table = np.concatenate(rows)
    targets = table[:, labels - 1].astype(np.int64)  # CIFAR-100: coarse first, then fine
    if targets.max() >= kind:
        raise ValueError(f"{paths[0].parent}: class {targets.max()}, expected 0 to {kind - 1}")
    return ImageArrays(table[:, labels:].reshape(-1, 3, 32, 32), targets)
