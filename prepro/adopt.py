"""Import the features of another system into features.h5.

    python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att

In: folders of ID.npy or ID.npz (self-critical.pytorch's cocotalk_fc and cocotalk_att, bottom-up's
cocobu_att), or an HDF5 file with one dataset an image, named by its id. Out: features.h5 beside
labels.json. If the number of regions differs between images, they are padded with zeros, and
FeatureFile.mask marks the valid ones. Without --fc, the pooled vector is the mean of the regions.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command

if TYPE_CHECKING:
    import numpy as np

    from prepro.annotations.records import ImageRecord
    from prepro.storage.feature_file import FeatureFile, Provenance
    from prepro.storage.feature_writer import FeatureWriter

    ReadFeatures = Callable[["ImageRecord"], "np.ndarray"]

STEP = 32  # images written at a time


@dataclass(frozen=True)
class Options:
    """Import the features of another system into features.h5 of a data folder.

    Example: python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att
    """

    data: Path
    """the data folder that prepro.labels wrote"""
    att: Path | None = None
    """the region features: a folder of ID.npy or ID.npz, or an HDF5 file with one dataset for each
    picture, named by its id"""
    fc: Path | None = None
    """the pooled features, in the same formats; by default the mean of the regions"""
    name: str = "adopted"
    """the name of the system that made the features, which is stored with them"""


@dataclass(frozen=True)
class Sources:
    """The functions that read the features of an image; one of them may be None."""

    fc: "ReadFeatures | None"
    att: "ReadFeatures | None"

    def survey(self, records: "Sequence[ImageRecord]") -> tuple[int, int, bool, list[str]]:
        """D, the largest R, whether R differs between images, and a hash of each image's features.

        Reads all features once; the hash is "" where they cannot be read. ValueError if no image
        has features, or if D differs.
        """
        from prepro.extraction.external_features import AmbiguousName

        dims, counts, hashes = set(), set(), []
        for record in records:
            try:
                found = [read(record) for read in (self.att, self.fc) if read]
            except AmbiguousName:
                raise
            except ValueError:  # recorded as bad when the features are copied
                hashes.append("")
                continue
            about = repr((record.id, [rows.shape for rows in found])).encode()
            hashes.append(_sha256(about, *(rows.tobytes() for rows in found)))
            dims.add(found[0].shape[-1])
            counts.add(found[0].shape[0] if self.att else 0)
        if not dims:
            raise ValueError(
                "no picture of labels.json has features in --att or --fc; name the files by its ids"
            )
        if len(dims) > 1:
            raise ValueError(f"features of {sorted(dims)} numbers; all must have the same length")
        return dims.pop(), max(counts), len(counts) > 1, hashes

    def read(self, record: "ImageRecord", dim: int, regions: int) -> tuple:
        """fc (D,), att (R, D) padded, and the number of valid regions. ValueError if invalid."""
        import numpy as np

        att = self.att(record) if self.att else np.zeros((0, dim), np.float32)
        fc = self.fc(record).reshape(-1) if self.fc else att.mean(0)
        if fc.shape != (dim,) or att.shape[1:] != (dim,):
            raise ValueError(f"fc of {fc.shape} and regions of {att.shape}, expected D {dim}")
        padded = np.zeros((regions, dim), np.float16)
        padded[: len(att)] = att
        fc = fc.astype(np.float16)
        if not (np.isfinite(padded).all() and np.isfinite(fc).all()):
            raise ValueError("numbers that are not finite in float16")
        return fc, padded, np.uint16(len(att))


def main(options: Options) -> int:
    from prepro.extraction.external_features import open_external_features
    from prepro.extraction.summary import print_summary
    from prepro.storage.feature_file import FeatureFile, Provenance
    from prepro.storage.feature_writer import FeatureWriter, create
    from prepro.storage.label_file import read_labels

    if options.att is None and options.fc is None:
        raise ValueError("give --att, --fc or both")
    labels = read_labels(options.data)
    path = options.data / "features.h5"
    sources = Sources(
        open_external_features(options.fc) if options.fc else None,
        open_external_features(options.att) if options.att else None,
    )
    dim, regions, counted, hashes = sources.survey(labels.records)
    paths = " ".join(str(path) for path in (options.fc, options.att) if path)
    provenance = Provenance(
        options.name,
        paths,
        _sha256(*map(str.encode, hashes)),
        "{}",
        labels.images_sha256,
        dim,
        regions,
        "unknown",
    )
    if path.is_file():
        _check_existing(FeatureFile(path), provenance, hashes)
    else:
        create(path, provenance, [record.id for record in labels.records], counted)
    with FeatureWriter(path) as writer:
        writer.file.attrs["weights_sha256"] = provenance.weights_sha256
        _copy_features(writer, labels.records, sources, provenance)
    return print_summary(path, [record.path for record in labels.records])


def _check_existing(file: "FeatureFile", provenance: "Provenance", hashes: Sequence[str]) -> None:
    """ValueError unless the file has these features, without those that could not be read then."""
    kept = ["" if row in file.bad else found for row, found in enumerate(hashes)]
    if file.provenance.weights_sha256 == _sha256(*map(str.encode, kept)):
        provenance = replace(provenance, weights_sha256=file.provenance.weights_sha256)
    provenance.check(file.provenance, file.path)


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _copy_features(
    writer: "FeatureWriter", records: "Sequence[ImageRecord]", sources: Sources,
    provenance: "Provenance",
) -> None:  # fmt: skip
    """Write the rows that are not done."""
    import numpy as np

    from prepro.runtime.progress import ProgressBar
    from prepro.storage.feature_file import DONE

    counted = "count" in writer.file
    with ProgressBar(len(records), "adopt") as progress:
        for start in range(0, len(records), STEP):
            rows = range(len(records))[start : start + STEP]
            good, bad = {}, {}
            for row in rows:
                if writer.status[row] == DONE:
                    continue
                try:
                    good[row] = sources.read(records[row], provenance.dim, provenance.regions)
                except ValueError as error:
                    bad[row] = str(error)
            fc, att, count = [
                np.stack(block) for block in zip(*good.values(), strict=True)
            ] or [None] * 3  # fmt: skip
            if good or bad:
                writer.write(
                    np.array(list(good), np.int64), fc, att if provenance.regions else None, bad,
                    count if counted else None,
                )  # fmt: skip
            progress.add(len(rows) - len(bad), len(bad))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
