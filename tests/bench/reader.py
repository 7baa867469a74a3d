"""The speed of reading features.h5: random rows of att, and all of COCO's fc.

    python -m tests.bench.reader

The files are in the page cache, so this is the speed of the reader, not of the disk.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter, create

DIM, REGIONS, ROWS, COCO, BATCH = 2048, 49, 4096, 123_287, 50


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        grids = FeatureFile(write(Path(temporary) / "att.h5", ROWS, REGIONS))
        rng = np.random.default_rng(0)
        batches = [rng.integers(0, ROWS, BATCH) for _ in range(40)]
        start = time.perf_counter()
        for rows in batches:
            grids.att(rows)
        rate = len(batches) * BATCH / (time.perf_counter() - start)
        size = REGIONS * DIM * 2
        print(f"att: {rate:,.0f} random rows/s of {size:,} bytes, {rate * size / 1e9:.2f} GB/s")
        pooled = FeatureFile(write(Path(temporary) / "fc.h5", COCO, 0))
        start = time.perf_counter()
        pooled.fc(np.arange(COCO))
        print(f"fc of {COCO:,} images: {time.perf_counter() - start:.1f} s")


def write(path: Path, count: int, regions: int, step: int = 512) -> Path:
    """A complete file of `count` images."""
    create(path, Provenance("", "", "", "{}", "", DIM, regions), range(count))
    rng = np.random.default_rng(0)
    fc = rng.standard_normal((step, DIM), np.float32).astype(np.float16)
    att = np.repeat(fc[:, None], regions, 1) if regions else None
    with FeatureWriter(path) as writer:
        for start in range(0, count, step):
            rows = np.arange(start, min(start + step, count))
            writer.write(rows, fc[: len(rows)], None if att is None else att[: len(rows)])
    return path


if __name__ == "__main__":
    main()
