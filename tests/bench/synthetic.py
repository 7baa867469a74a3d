"""A data folder of COCO's sizes with random numbers in it, for the benchmarks of training.

Captions have COCO's length distribution: 10.5 words, give or take 2.2, 16 at most.
"""

from pathlib import Path

import h5py
import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.storage.feature_file import DONE, Provenance
from prepro.storage.feature_writer import create
from prepro.storage.label_file import images_sha256, write_label_arrays
from prepro.vocabulary import Vocabulary

WORDS, LONGEST, DIM = 9487, 16, 2048


def make_folder(folder: Path, images: int, regions: int, fill: bool = True) -> int:
    """labels.json, labels.h5 and features.h5 of `images` training pictures, and one for validation.

    Returns the number of training captions, five a picture. Features are normal, or zero without
    `fill`.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train"] * images + ["val"]
    records = [ImageRecord(i, f"{i}.jpg", name, ("",) * 5) for i, name in enumerate(splits)]
    images = len(records)
    lengths = (10.5 + 2.2 * rng.standard_normal(5 * images)).round().clip(6, LONGEST)
    lengths = lengths.astype(np.int64)
    words = rng.integers(1, WORDS + 1, lengths.sum(), np.uint32)
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS)))
    write_label_arrays(folder, records, vocabulary, words, lengths, LONGEST, {})
    about = Provenance("synthetic", "none", "", "{}", images_sha256(records), DIM, regions)
    create(folder / "features.h5", about, range(images))
    with h5py.File(folder / "features.h5", "r+") as file:
        for first in range(0, images if fill else 0, 256):
            some = slice(first, min(first + 256, images))
            for name in ("fc", "att") if regions else ("fc",):
                shape = (some.stop - first, *file[name].shape[1:])
                file[name][some] = rng.standard_normal(shape, np.float32).astype(np.float16)
        file["status"][:] = DONE
        file.attrs["complete"] = True
    return len(lengths) - 5
