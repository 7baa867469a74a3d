"""External features of all pictures: what the file must hold, and what each row holds."""

from pathlib import Path

import numpy as np
import pytest

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.found import FoundFeatures
from prepro.extraction.external.survey import ExternalFeatures

RNG = np.random.default_rng(0)
RECORDS = [ImageRecord(i, f"{i}.jpg", "train", ()) for i in range(4)]
ATT = [RNG.random((k + 2, 3)) for k in range(4)]


def source(values, boxes=(), size=None):
    """A function that reads values[id]; ValueError where there is none."""

    def read(record):
        if record.id >= len(values) or values[record.id] is None:
            raise ValueError(f"nothing for {record.id}")
        own = boxes[record.id] if record.id < len(boxes) else None
        return FoundFeatures(np.asarray(values[record.id]), own, size)

    return read


def external(fc=None, att=None, boxes=None, layout="auto"):
    return ExternalFeatures(fc, att, boxes, layout, Path("none"))


def test_a_survey_counts_what_the_file_must_hold():
    pixels = [np.full((k + 2, 4), 20) for k in range(3)]
    found = external(source([np.ones(3)] * 4), source(ATT, pixels)).survey(RECORDS)
    assert found[:5] == (3, 5, True, False, 3)
    assert len(set(found.hashes)) == 4 and "" not in found.hashes
    found = external(None, source(ATT[:1] * 4, pixels[:1], (40, 40))).survey(RECORDS)
    assert found[:5] == (3, 2, False, True, 0)
    found = external(source([np.ones(7)] * 4, pixels)).survey(RECORDS)
    assert found[:5] == (7, 0, False, False, 3)
    found = external(None, source([None, *ATT[1:3]]), source(pixels)).survey(RECORDS)
    assert found[:5] == (3, 4, True, False, 2)
    assert [bool(each) for each in found.hashes] == [False, True, True, False]
    with pytest.raises(ValueError, match=r"the first is 0\.jpg: nothing for 0$"):
        external(None, source([])).survey(RECORDS)
    with pytest.raises(ValueError, match=r"features of \[3, 4\] numbers"):
        external(None, source([np.ones((2, 3)), np.ones((3, 4))])).survey(RECORDS[:2])
    with pytest.raises(ValueError, match="--layout dr"):
        external(None, source([np.ones((9, 3))])).survey(RECORDS)
    assert external(None, source([np.ones((9, 3))]), layout="dr").survey(RECORDS).dim == 9
    assert external(source([np.ones((9, 3))])).survey(RECORDS).dim == 3


def test_the_features_of_a_picture_are_padded():
    both = external(source([np.full(3, 9)] * 4), source(ATT, [None, np.full((3, 4), 0.5)]))
    found = both.read(RECORDS[1], 3, 5)
    assert found.fc.tolist() == [9, 9, 9] and found.count == 3
    assert np.array_equal(found.att, np.pad(ATT[1], ((0, 2), (0, 0))).astype(np.float16))
    assert found.boxes.tolist() == [[0.5] * 4] * 3 + [[0] * 4] * 2
    assert not both.read(RECORDS[0], 3, 5).boxes.any()
    alone = external(None, source(ATT)).read(RECORDS[1], 3, 5)
    assert np.array_equal(alone.fc, ATT[1].mean(0).astype(np.float16))
    pooled = external(source([np.ones((1, 3))])).read(RECORDS[0], 3, 0)
    assert pooled.att.shape == (0, 3) and pooled.boxes.shape == (0, 4) and pooled.count == 0


@pytest.mark.parametrize(
    ("fc", "att", "message"),
    [
        (np.ones(4), ATT[0], r"fc of \(4,\) and regions of \(2, 3\), expected D 3"),
        (np.ones(3), np.ones((2, 4)), r"fc of \(3,\) and regions of \(2, 4\), expected D 3"),
        (np.ones((2, 3)), ATT[0], r"fc of \(6,\)"),
        (np.full(3, 70_000), ATT[0], "not finite in float16"),
        (np.ones(3), ATT[0] + 70_000, "not finite in float16"),
        (np.ones(3), ATT[1], "2 boxes for 3 regions"),
    ],
)
def test_features_that_do_not_fit_are_refused(fc, att, message):
    boxes = [np.zeros((2, 4))]
    with pytest.raises(ValueError, match=message):
        external(source([fc]), source([att], boxes)).read(RECORDS[0], 3, 5)
