"""Import the features of another system into features.h5.

    python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att

In: folders of ID.npy or ID.npz (self-critical.pytorch's cocotalk_fc and cocotalk_att, bottom-up's
cocobu_att), an .lmdb database of such files, a .pth dictionary, bottom-up attention's or VinVL's
.tsv files (or their folder), or an HDF5 file with ID, or M2-Transformer's ID_features. Out:
features.h5 beside labels.json. If the number of regions differs between images, they are padded
with zeros, and FeatureFile.mask marks the valid ones. Without --fc, the pooled vector is the mean
of the regions. Boxes of the regions are kept where they are there, as fractions of the picture.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eval import command

if TYPE_CHECKING:
    from prepro.annotations.records import ImageRecord
    from prepro.extraction.external.survey import ExternalFeatures
    from prepro.storage.feature_file import FeatureFile, Provenance
    from prepro.storage.feature_writer import FeatureWriter

STEP = 32  # images written at a time


@dataclass(frozen=True)
class Options:
    """Import the features of another system into features.h5 of a data folder.

    Example: python -m prepro.adopt --data data/coco --fc cocotalk_fc --att cocotalk_att
    """

    data: Path
    """the data folder that prepro.labels wrote"""
    att: Path | None = None
    """the region features: a folder of ID.npy or ID.npz, or of .tsv files; an .lmdb database; a
    .pth, .tsv or HDF5 file of all pictures"""
    fc: Path | None = None
    """the pooled features, in the same formats; by default the mean of the regions"""
    boxes: Path | None = None
    """corners of the regions, such as cocobu_box, in the same formats; by default those that lie
    beside the regions"""
    layout: Literal["auto", "rd", "hwd", "dr", "dhw"] = "auto"
    """the order of the dimensions of --att: R regions, or h rows of w cells, of D numbers"""
    key: str = ""
    """the name of the array in .npz files; features or grids for an HDF5 file with both"""
    name: str = "adopted"
    """the name of the system that made the features, which is stored with them"""


def main(options: Options) -> int:
    from prepro.extraction.external.survey import sha256
    from prepro.extraction.summary import print_summary
    from prepro.storage.feature_file import FeatureFile, Provenance
    from prepro.storage.feature_writer import FeatureWriter, create
    from prepro.storage.label_file import read_labels

    if options.att is None and options.fc is None:
        raise ValueError("give --att, --fc or both")
    labels = read_labels(options.data)
    path = options.data / "features.h5"
    sources = _open(options, labels.image_root)
    found = sources.survey(labels.records)
    if found.unboxed:
        print(
            f"prepro.adopt: the boxes of {found.unboxed:,} pictures are in pixels and are left "
            f"out, since the pictures, whose size is needed, are not in {labels.image_root}",
            file=sys.stderr,
        )
    provenance = Provenance(
        options.name,
        " ".join(str(path) for path in (options.fc, options.att) if path),
        sha256(*map(str.encode, found.hashes)),
        "{}",
        labels.images_sha256,
        found.dim,
        found.regions,
        "unknown",
    )
    if path.is_file():
        _check_existing(FeatureFile(path), provenance, found.hashes, found.boxed)
    else:
        ids = [record.id for record in labels.records]
        create(path, provenance, ids, found.counted, boxed=found.boxed)
    with FeatureWriter(path) as writer:
        writer.file.attrs["weights_sha256"] = provenance.weights_sha256
        _copy_features(writer, labels.records, sources, provenance)
    return print_summary(path, [record.path for record in labels.records])


def _open(options: Options, image_root: Path) -> "ExternalFeatures":
    from prepro.extraction.external.survey import ExternalFeatures
    from prepro.extraction.external_features import open_external_features

    fc, att, boxes = (
        path and open_external_features(path, "" if path == options.boxes else options.key)
        for path in (options.fc, options.att, options.boxes)
    )
    return ExternalFeatures(fc, att, boxes, options.layout, image_root)


def _check_existing(
    file: "FeatureFile", provenance: "Provenance", hashes: Sequence[str], boxed: bool
) -> None:
    """ValueError unless the file has these features, without those that could not be read then."""
    from prepro.extraction.external.survey import sha256

    kept = ["" if row in file.bad else found for row, found in enumerate(hashes)]
    if file.provenance.weights_sha256 == sha256(*map(str.encode, kept)):
        provenance = replace(provenance, weights_sha256=file.provenance.weights_sha256)
    provenance.check(file.provenance, file.path)
    if boxed and not file.has_boxes:
        raise ValueError(f"{file.path}: written without boxes; remove it to import them as well")


def _copy_features(
    writer: "FeatureWriter", records: "Sequence[ImageRecord]", sources: "ExternalFeatures",
    provenance: "Provenance",
) -> None:  # fmt: skip
    """Write the rows that are not done."""
    import numpy as np

    from prepro.runtime.progress_bar import ProgressBar
    from prepro.storage.feature_file import DONE

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
            blocks = [np.stack(block) for block in zip(*good.values(), strict=True)] or [None] * 4
            names = dict(zip(("fc", "att", "count", "boxes"), blocks, strict=True))
            if good or bad:
                own = {name: block for name, block in names.items() if name in writer.file}
                writer.write(np.array(list(good), np.int64), bad=bad, **({"att": None} | own))
            progress.add(len(rows) - len(bad), len(bad))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
