"""A data set of labelled pictures in one HDF5 file: lmdb's place, for disks that hate small files.

In: a folder that prepro.pretrain reads. Out: one file with the encoded bytes of every picture, as
they are, its class and its name; `--data FILE` of prepro.pretrain reads it.

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
    """train/ and val/ folders of classes"""
    out: Path
    """the file to write"""


def main(options: Options) -> None:
    from prepro.pretraining.image_folder import open_folder
    from prepro.pretraining.packed_images import write

    data = open_folder(options.data)
    write(data, options.out)
    print(f"{options.out}  {len(data.train):,} + {len(data.val):,} pictures")


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
