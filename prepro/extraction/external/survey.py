"""The features of another system, picture by picture, and a first reading of all of them.

In: functions that find features, region boxes and picture sizes. Out: PictureFeatures as
features.h5 stores them, and a Survey of all pictures, which sizes the file and ties it to its
content.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.boxes import normalised_boxes, picture_size
from prepro.extraction.external.found import AmbiguousName, FoundFeatures, ReadFeatures
from prepro.extraction.external.layout import Layout, check_layout, squeezed, to_rows
from prepro.runtime.progress_bar import ProgressBar


class PictureFeatures(NamedTuple):
    fc: np.ndarray
    """(D,) float16"""
    att: np.ndarray
    """(R, D) float16, padded with zeros"""
    count: np.uint16
    """how many regions are no padding"""
    boxes: np.ndarray
    """(R, 4) float32: left, top, right and bottom as fractions; zeros where they are unknown"""


class Survey(NamedTuple):
    dim: int
    regions: int
    """the largest R"""
    counted: bool
    """whether R differs between pictures"""
    boxed: bool
    """whether a picture has boxes"""
    unboxed: int
    """pictures whose boxes are in pixels, and whose size is unknown"""
    hashes: list[str]
    """of each picture's features; "" where they cannot be read"""


@dataclass(frozen=True)
class ExternalFeatures:
    """The functions that read the features of a picture; fc or att may be None."""

    fc: ReadFeatures | None
    att: ReadFeatures | None
    boxes: ReadFeatures | None
    """None: those that lie beside the regions"""
    layout: Layout
    image_root: Path

    def survey(self, records: Sequence[ImageRecord]) -> Survey:
        """Read all features once. ValueError if no picture has any, for a layout in doubt, or if D
        differs."""
        dims, counts, shapes, hashes = set(), set(), set(), []
        boxed, unboxed, first = False, 0, ""
        with ProgressBar(len(records), "check") as progress:
            for record in records:
                try:
                    found = [read(record) for read in (self.att, self.fc) if read]
                    rows = [to_rows(one.features, self.layout) for one in found]
                    boxes = self._boxes(record, found[0])
                except AmbiguousName:
                    raise
                except ValueError as error:  # recorded as bad when the features are copied
                    first = first or f"{record.path}: {error}"
                    hashes.append("")
                    progress.add(0, 1)
                    continue
                about = repr((record.id, [array.shape for array in rows])).encode()
                hashes.append(sha256(about, *(array.tobytes() for array in rows)))
                shapes.add(squeezed(found[0].features).shape)
                dims.add(rows[0].shape[-1])
                counts.add(len(rows[0]) if self.att else 0)
                boxed |= boxes is not None and self.att is not None
                unboxed += boxes is None and self._raw_boxes(record, found[0]) is not None
                progress.add(1)
        if not dims:
            raise ValueError(
                "no picture of labels.json has features in --att or --fc; name the files by its "
                f"ids; the first is {first}"
            )
        if self.layout == "auto" and self.att:
            check_layout(shapes)
        if len(dims) > 1:
            raise ValueError(f"features of {sorted(dims)} numbers; all must have the same length")
        return Survey(dims.pop(), max(counts), len(counts) > 1, boxed, unboxed, hashes)

    def read(self, record: ImageRecord, dim: int, regions: int) -> PictureFeatures:
        """The features of a picture, with room for `regions`. ValueError if invalid."""
        found = self.att(record) if self.att else None
        att = to_rows(found.features, self.layout) if found else np.zeros((0, dim), np.float32)
        fc = to_rows(self.fc(record).features, "auto").reshape(-1) if self.fc else att.mean(0)
        if fc.shape != (dim,) or att.shape[1:] != (dim,):
            raise ValueError(f"fc of {fc.shape} and regions of {att.shape}, expected D {dim}")
        padded = np.zeros((regions, dim), np.float16)
        with np.errstate(over="ignore"):  # said below
            padded[: len(att)] = att
            fc = fc.astype(np.float16)
        if not (np.isfinite(padded).all() and np.isfinite(fc).all()):
            raise ValueError("numbers that are not finite in float16")
        corners = np.zeros((regions, 4), np.float32)
        boxes = self._boxes(record, found) if found else None
        if boxes is not None:
            if len(boxes) != len(att):
                raise ValueError(f"{len(boxes)} boxes for {len(att)} regions")
            corners[: len(boxes)] = boxes
        return PictureFeatures(fc, padded, np.uint16(len(att)), corners)

    def _raw_boxes(self, record: ImageRecord, found: FoundFeatures) -> np.ndarray | None:
        return self.boxes(record).features if self.boxes else found.boxes

    def _boxes(self, record: ImageRecord, found: FoundFeatures) -> np.ndarray | None:
        raw = self._raw_boxes(record, found)
        if raw is None:
            return None
        boxes = normalised_boxes(raw, found.size)
        if boxes is None:
            boxes = normalised_boxes(raw, picture_size(self.image_root, record))
        return boxes


def sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
