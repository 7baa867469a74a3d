"""The plan of batches: which images go through the network together.

In: the number of images, or their sizes, and which are wanted. Out: a list of BatchPlan.
An image's batch and its slot in it depend only on the list of images (and, at full resolution, on
their sizes), not on what an earlier run has computed: the last bit of a feature can depend on the
shape of its batch, and a run that is killed and restarted must write the same bytes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

CROP_PIXELS = 224 * 224  # the unit of --batch-size at full resolution


@dataclass(frozen=True)
class BatchPlan:
    """`size` slots of (3, height, width); the image of rows[i] is in slots[i]."""

    size: int
    rows: tuple[int, ...]
    slots: tuple[int, ...]
    height: int
    width: int


def fixed_size_batches(
    count: int, batch_size: int, side: int, wanted: Sequence[bool]
) -> list[BatchPlan]:
    """Images that are all cropped to side x side: batch k starts at row k * batch_size."""
    groups = [range(k, min(k + batch_size, count)) for k in range(0, count, batch_size)]
    return _batches([(group, side, side) for group in groups], wanted)


def same_size_batches(
    shapes: Sequence[tuple[int, int] | None], batch_size: int, wanted: Sequence[bool]
) -> list[BatchPlan]:
    """Images of equal (height, width) together, so that none is padded.

    A batch has at most as many pixels as `batch_size` crops of 224 x 224, or one image. Images of
    unknown size (None) are left out.
    """
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, shape in enumerate(shapes):
        if shape is not None:
            rows_of[shape].append(row)
    groups = []
    for (height, width), rows in rows_of.items():
        step = max(1, batch_size * CROP_PIXELS // (height * width))
        groups += [(rows[k : k + step], height, width) for k in range(0, len(rows), step)]
    groups.sort(key=lambda group: group[0][0])
    return _batches(groups, wanted)


def _batches(
    groups: Sequence[tuple[Sequence[int], int, int]], wanted: Sequence[bool]
) -> list[BatchPlan]:
    """A batch for each group that has a wanted image."""
    batches = []
    for group, height, width in groups:
        slots = tuple(slot for slot, row in enumerate(group) if wanted[row])
        if slots:
            rows = tuple(group[slot] for slot in slots)
            batches.append(BatchPlan(len(group), rows, slots, height, width))
    return batches
