"""Features in tab-separated files, as bottom-up attention, LXMERT and VinVL write them."""

import csv
import json

import numpy as np
import pytest

from prepro.annotations.records import ImageRecord
from prepro.extraction.external import tsv
from prepro.extraction.external_features import open_external_features
from tests.prepro.extraction.external_set import (
    BOXES,
    IDS,
    PIXELS,
    REGIONS,
    SIZES,
    adopted,
    check,
    packed,
)

FIELDS = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"]


def bottom_up_rows(ids):
    for i in ids:
        values = i, *SIZES[i], len(REGIONS[i]), packed(PIXELS[i]), packed(REGIONS[i])
        yield dict(zip(FIELDS, values, strict=True))


@pytest.mark.parametrize("named", [True, False])
def test_bottom_up_tsv(folder, named):
    with open(folder / "trainval.tsv", "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, delimiter="\t")
        if named:
            writer.writeheader()
        writer.writerows(bottom_up_rows(IDS))
    check(adopted(folder, att=folder / "trainval.tsv"))


def test_a_folder_of_tsv_parts(folder):
    (folder / "trainval").mkdir()
    for part, ids in enumerate((IDS[:1], IDS[1:])):
        with open(folder / "trainval" / f"karpathy_train.tsv.{part}", "w", newline="") as file:
            csv.DictWriter(file, FIELDS, delimiter="\t").writerows(bottom_up_rows(ids))
    check(adopted(folder, att=folder / "trainval"))


def test_lxmerts_tsv(folder):
    lines = []
    for i in IDS:
        width, height = SIZES[i]
        cells = [i, height, width, "x", "x", "x", "x", len(REGIONS[i])]
        lines.append("\t".join(map(str, [*cells, packed(PIXELS[i]), packed(REGIONS[i])])))
    (folder / "obj36.tsv").write_text("\n".join(lines) + "\n")
    check(adopted(folder, att=folder / "obj36.tsv"))


def test_vinvls_tsv(folder):
    """Two columns; the last six numbers of a region are its box, width and height."""
    lines, wide = [], {}
    for i in IDS:
        sides = BOXES[i][:, 2:] - BOXES[i][:, :2]
        wide[i] = np.concatenate([REGIONS[i], BOXES[i], sides], 1)
        row = {"num_boxes": len(wide[i]), "features": packed(wide[i])}
        lines.append(f"{i}\t{json.dumps(row)}")
    (folder / "features.tsv").write_text("\n".join(lines))
    found = adopted(folder, att=folder / "features.tsv")
    rows = np.arange(len(IDS))
    for row, i in enumerate(IDS):
        mask = found.mask(rows)[row]
        assert np.array_equal(found.att(rows)[row][mask], wide[i].astype(np.float16))
        assert np.allclose(found.boxes(rows)[row][mask], BOXES[i])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"391895\t2\t2\t1\tAAAA\t{'A' * 11}", "not base64"),
        ("391895\t2\t2\tmany\tAAAA\tAAAAAA==", "invalid literal"),
        ("391895\t2\t2\t1", "4 columns, expected"),
        ("391895\t{", "JSONDecodeError"),
        ('391895\t{"num_boxes": 1}', "KeyError: 'features'"),
        ("391895\t1\tAAA*AAA==", "not base64"),
        ("image_id\tnum_boxes\tfeatures\n391895\t1\tAAAAAA==\tmore", "cannot be read"),
        ("391895\t1\tAAAAAA==\n391895\t1\tAAAAAA==", "the picture '391895' twice"),
    ],
)
def test_damaged_tsv(folder, line, reason):
    (folder / "a.tsv").write_text(line + "\n")
    with pytest.raises(ValueError, match=reason):
        adopted(folder, att=folder / "a.tsv")


def test_three_columns_and_columns_in_any_order(folder):
    rows = [(str(i), str(len(REGIONS[i])), packed(REGIONS[i])) for i in IDS]
    (folder / "three.tsv").write_text("\n\n".join("\t".join(row) for row in rows))
    check(adopted(folder, att=folder / "three.tsv"), boxes=False)
    (folder / "features.h5").unlink()
    rows = [("image_id", "features", "image_w", "boxes", "num_boxes")]
    rows += [
        (str(i), packed(REGIONS[i]), "9", packed(PIXELS[i]), str(len(REGIONS[i]))) for i in IDS
    ]
    (folder / "named.tsv").write_text("\r\n".join("\t".join(row) for row in rows))
    check(adopted(folder, att=folder / "named.tsv"), boxes=False)  # in pixels of unknown height


def test_a_line_that_is_too_long_is_refused(tmp_path, monkeypatch):
    line = f"7\t1\t{packed(np.ones((1, 9)))}\n"
    (tmp_path / "a.tsv").write_text(line)
    record = ImageRecord(7, "7.jpg", "train", ())
    monkeypatch.setattr(tsv, "MAX_LINE", len(line) + 1)
    assert open_external_features(tmp_path / "a.tsv")(record).features.tolist() == [[1] * 9]
    monkeypatch.setattr(tsv, "MAX_LINE", len(line))
    with pytest.raises(ValueError, match=f"a line of more than {len(line)} bytes"):
        open_external_features(tmp_path / "a.tsv")


def region(box, width=None, height=None, numbers=3):
    left, top, right, bottom = box
    sides = [right - left if width is None else width, bottom - top if height is None else height]
    return [*[5.0] * numbers, *box, *sides]


@pytest.mark.parametrize(
    ("region", "has_box"),
    [
        (region([0.1, 0.2, 0.5, 0.9]), True),
        (region([0, 0, 1, 1], numbers=1), True),
        (region([0, 0, 1, 1], numbers=0), False),  # nothing would be left but the box
        (region([0.1, 0.2, 0.5, 0.9], width=0.41), False),
        (region([0.1, 0.2, 0.5, 0.9], height=0.71), False),
        (region([0.1, 0.2, 0.5, 0.9], width=0.4005, height=0.6995), True),
        (region([-0.0005, 0.2, 0.5, 1.0005]), True),
        (region([-0.01, 0.2, 0.5, 0.9]), False),
        (region([0.1, 0.2, 0.5, 1.01]), False),
        (region([0.5, 0.2, 0.5, 0.9]), False),
        (region([10, 20, 50, 90]), False),
        (region([0.5, 0.2, 0.1, 0.9]), False),
    ],
)
def test_the_last_six_numbers_may_be_a_box(region, has_box):
    rows = np.array(
        [[*[5.0] * (len(region) - 6), 0.2, 0.2, 0.4, 0.5, 0.2, 0.3], region], np.float32
    )
    found = tsv._boxes_at_the_end(rows)
    assert (found is not None) == has_box
    if has_box:
        assert np.array_equal(found, rows[:, -6:-2])
