"""Features in tab-separated files, as bottom-up attention, LXMERT and VinVL write them."""

import csv
import json

import numpy as np
import pytest

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
        ("391895\t1\tAAAAAA==\n391895\t1\tAAAAAA==", "the picture '391895' twice"),
    ],
)
def test_damaged_tsv(folder, line, reason):
    (folder / "a.tsv").write_text(line + "\n")
    with pytest.raises(ValueError, match=reason):
        adopted(folder, att=folder / "a.tsv")
