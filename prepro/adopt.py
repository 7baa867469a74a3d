"""Features that another system made, into features.h5.

    python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att

In: folders of ID.npy or ID.npz (self-critical.pytorch's cocotalk_fc and cocotalk_att, bottom-up's
cocobu_att), or an HDF5 file with one dataset an image, named by its id. Out: features.h5 beside
labels.json. Where the number of regions differs by picture they are padded with zeros, and
FeatureFile.mask says which are real. Without --fc, it is the mean of the regions.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command

if TYPE_CHECKING:
    import numpy as np

    from prepro.annotations.records import ImageRecord

STEP = 32  # pictures written at a time


@dataclass(frozen=True)
class Options:
    """Features that another system made, as features.h5 of a data folder.

    Example: python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att
    """

    data: Path
    """the data folder that prepro.labels made"""
    att: Path | None = None
    """region features: a folder of ID.npy or ID.npz, or an HDF5 file with a dataset an image"""
    fc: Path | None = None
    """pooled features, in the same forms; without it, the mean of the regions"""
    name: str = "adopted"
    """what made them, to be remembered with them"""


def main(options: Options) -> int:
    from prepro.extraction import pipeline
    from prepro.extraction.external_features import reader
    from prepro.storage.feature_file import FeatureFile, Provenance
    from prepro.storage.feature_writer import create
    from prepro.storage.label_file import read_labels

    if options.att is None and options.fc is None:
        raise ValueError("give --att, --fc or both")
    labels = read_labels(options.data)
    path = options.data / "features.h5"
    fc = reader(options.fc) if options.fc else None
    att = reader(options.att) if options.att else None
    dim, regions, counted = _survey(labels.records, fc, att)
    source = " ".join(str(path) for path in (options.fc, options.att) if path)
    provenance = Provenance(
        options.name, source, "", "{}", labels.images_sha256, dim, regions, "unknown"
    )
    if path.is_file():
        provenance.check(FeatureFile(path).provenance, path)
    else:
        create(path, provenance, [record.id for record in labels.records], counted)
    _copy(path, labels.records, fc, att, provenance)
    return pipeline.report(path, [record.path for record in labels.records])


Read = Callable[["ImageRecord"], "np.ndarray"]


def _survey(records, fc: Read | None, att: Read | None) -> tuple[int, int, bool]:
    """D, the largest R, and whether R differs; of every picture, for all space is made first."""
    dims, counts = set(), set()
    for record in records:
        try:
            shape = (att or fc)(record).shape
        except ValueError:  # recorded as bad when it is copied
            continue
        dims.add(shape[-1])
        counts.add(shape[0] if att else 0)
    if not dims:
        raise ValueError("no picture of labels.json has features there; are they named by its ids?")
    if len(dims) > 1:
        raise ValueError(f"features of {sorted(dims)} numbers; they must all be of one length")
    return dims.pop(), max(counts), len(counts) > 1


def _copy(path: Path, records, fc: Read | None, att: Read | None, provenance) -> None:
    import numpy as np

    from prepro.runtime.progress import Progress
    from prepro.storage.feature_file import DONE
    from prepro.storage.feature_writer import FeatureWriter

    with FeatureWriter(path) as writer, Progress(len(records), "adopt") as progress:
        for start in range(0, len(records), STEP):
            rows = [
                r for r in range(len(records))[start : start + STEP] if writer.status[r] != DONE
            ]
            good, bad = {}, {}
            for row in rows:
                try:
                    good[row] = _vectors(records[row], fc, att, provenance)
                except ValueError as error:
                    bad[row] = str(error)
            if rows:
                blocks = [np.stack(block) for block in zip(*good.values(), strict=True)] or [
                    None
                ] * 3
                pooled, cells, count = blocks
                counted = "count" in writer.file
                cells = cells if provenance.regions else None
                places = np.array(list(good), np.int64)
                writer.write(places, pooled, cells, bad, count if counted else None)
            progress.add(len(good), len(bad))


def _vectors(record, fc: Read | None, att: Read | None, provenance) -> tuple:
    """fc (D,), att (R, D) padded, how many of its rows are real. ValueError says what is odd."""
    import numpy as np

    dim, regions = provenance.dim, provenance.regions
    cells = att(record) if att else np.zeros((0, dim), np.float32)
    pooled = fc(record).reshape(-1) if fc else cells.mean(0)
    if pooled.shape != (dim,) or cells.shape[1:] != (dim,):
        raise ValueError(f"fc of {pooled.shape} and regions of {cells.shape}, expected D {dim}")
    padded = np.zeros((regions, dim), np.float16)
    padded[: len(cells)] = cells
    pooled = pooled.astype(np.float16)
    if not (np.isfinite(padded).all() and np.isfinite(pooled).all()):
        raise ValueError("numbers that are not finite in float16")
    return pooled, padded, np.uint16(len(cells))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
