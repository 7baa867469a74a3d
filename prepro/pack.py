"""Pack a folder of labelled pictures into one HDF5 file, for disks that are slow on small files.

In: a folder that prepro.pretrain reads. Out: one file with the unchanged bytes of every picture
file, its class and its name, for `--data FILE` of prepro.pretrain; it serves the purpose of lmdb.

    python -m prepro.pack --data imagenet --out imagenet.h5
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command


@dataclass(frozen=True)
class Options:
    """Pack a folder of labelled pictures into one file.

    Example: python -m prepro.pack --data imagenet --out imagenet.h5
    """

    data: Path
    """an ImageFolder: a folder with train/CLASS/*.jpg and val/CLASS/*.jpg"""
    out: Path
    """the HDF5 file to write"""


def main(options: Options) -> None:
    from prepro.pretraining.image_folder import open_folder
    from prepro.pretraining.packed_images import write

    dataset = open_folder(options.data)
    write(dataset, options.out)
    train, val = len(dataset.train), len(dataset.val)
    print(f"{options.out}  {train:,} pictures for training, {val:,} for validation")


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
