"""External features in parts: layouts, boxes, names and files."""

import h5py
import numpy as np
import pytest
import torch

from prepro.annotations.records import ImageRecord
from prepro.extraction.external import found as found_module
from prepro.extraction.external.arrays import read_array
from prepro.extraction.external.boxes import normalised_boxes
from prepro.extraction.external.found import AmbiguousName, find_name, require_size
from prepro.extraction.external.layout import check_layout, to_rows
from prepro.extraction.external_features import open_external_features

RNG = np.random.default_rng(0)
DHW = RNG.random((5, 2, 3))


@pytest.mark.parametrize(
    ("value", "layout", "expected"),
    [
        (np.arange(4), "auto", [[0, 1, 2, 3]]),
        (np.arange(4, dtype=np.uint8), "dr", [[0, 1, 2, 3]]),
        (np.arange(4), "hwd", [[0, 1, 2, 3]]),
        (DHW[0], "auto", DHW[0]),
        (DHW[0], "dr", DHW[0].T),
        (DHW[None, :1], "rd", DHW[0]),
        (np.ones((1, 1, 3)), "auto", [[1, 1, 1]]),
        (np.ones((1, 3)), "rd", [[1, 1, 1]]),
        (DHW, "dhw", [DHW[:, h, w] for h in range(2) for w in range(3)]),
        (DHW, "hwd", [DHW[h, w] for h in range(5) for w in range(2)]),
        (np.zeros((65_535, 1)), "auto", np.zeros((65_535, 1))),
    ],
)
def test_rows_of_features(value, layout, expected):
    rows = to_rows(value, layout)
    assert rows.dtype == np.float32 and np.array_equal(rows, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("value", "layout", "message"),
    [
        (np.ones((2, 3), bool), "auto", r"features of bool \(2, 3\), expected numbers"),
        (np.ones((2, 3), complex), "auto", "features of complex128"),
        (np.float32(3), "auto", r"features of float32 \(\), expected"),
        (np.ones((2, 2, 2, 2)), "auto", "expected numbers"),
        (np.ones((0, 4)), "auto", "expected numbers"),
        (DHW, "rd", "which is not --layout rd"),
        (DHW[0], "dhw", "which is not --layout dhw"),
        (np.zeros((65_536, 1)), "auto", "65,536 regions, more than 65,535"),  # a count has 16 bits
    ],
)
def test_features_of_other_shapes_are_refused(value, layout, message):
    with pytest.raises(ValueError, match=message):
        to_rows(value, layout)


@pytest.mark.parametrize(
    "shapes",
    [
        [(7, 7, 2048)], [(5, 5, 3)], [(4, 5, 3)], [(3, 2, 3)], [(4, 16)], [(4, 4)], [(16,)],
        [(20, 16), (22, 16)], [(20, 5), (30, 6)], [(1, 3), (1, 5)], [(3, 16), (5, 16), (7, 7, 16)],
    ],
)  # fmt: skip
def test_layouts_that_may_be_the_usual_one(shapes):
    check_layout(shapes)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2048, 7, 6)], r"\(2048, 7, 6\): .* --layout dhw \(D = 2048\) or --layout hwd \(D = 6\)"),
        ([(7, 7, 9), (8, 5, 2)], r"\(8, 5, 2\): .* dhw \(D = 8\) or --layout hwd \(D = 2\)"),
        ([(16, 5), (16, 3)], r"\(16, 3\): .* --layout dr \(D = 16\) or --layout rd \(D = 3\)"),
        ([(2, 3), (2, 5), (9,)], r"\(2, 3\): .* dr \(D = 2\)"),
        ([(16, 4)], r"\(16, 4\): .* --layout dr \(D = 16\) or --layout rd \(D = 4\)"),
    ],
)
def test_layouts_that_are_plainly_another_one(shapes, message):
    with pytest.raises(ValueError, match=message):
        check_layout(shapes)


@pytest.mark.parametrize(
    ("boxes", "size", "expected"),
    [
        ([[0.1, 0.2, 0.3, 0.4]], None, [[0.1, 0.2, 0.3, 0.4]]),
        ([[[10, 20, 30, 40, 9]]], (100, 50), [[0.1, 0.4, 0.3, 0.8]]),
        ([[-0.5, 0.2, 1.01, 0.4, 7]], None, [[0, 0.2, 1, 0.4]]),  # a little outside
        ([[0, 0, 1.5, 1]], (1, 1), [[0, 0, 1, 1]]),
        ([[0, 0, 1.02, 1]], None, None),
        ([[0, 0, 30, 40]], (0, 50), None),
        ([[0, 0, 30, 40]], (50, -1), None),
        (np.zeros((0, 4)), None, np.zeros((0, 4))),
    ],
)
def test_boxes_are_fractions_of_the_sides(boxes, size, expected):
    found = normalised_boxes(np.array(boxes), size)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found.dtype == np.float32 and found.shape == np.shape(expected)
        assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "boxes", [np.ones((2, 3)), np.ones(4), np.array([["a"] * 4]), [[0, 0, np.nan, 1]], [[True] * 4]]
)
def test_other_boxes_are_refused(boxes):
    with pytest.raises(ValueError, match=r"boxes (of .* expected numbers|that are not finite)"):
        normalised_boxes(np.array(boxes), None)


@pytest.mark.parametrize(
    ("id", "path", "names", "expected"),
    [
        (12, "in/a.jpg", {"12"}, "12"),
        (12, "in/a.jpg", {"a", "a.jpg", "000000000012"}, "a"),
        (12, "in/a.jpg", {"a.jpg", "000000000012"}, "a.jpg"),
        (12, "in/a.jpg", {"000000000012"}, "000000000012"),
        (12, "in/COCO_0012.jpg", {"000000000012"}, "000000000012"),
        ("0012", "a.jpg", {"000000000012"}, "000000000012"),
        (12, "in/a7.jpg", {"000000000012"}, None),  # 7 may be another picture's number
        ("abc", "a.jpg", {"000000000abc"}, None),
        ("²", "a.jpg", {"00000000000²"}, None),
        (12, "in/a.jpg", {"0012", "in/a.jpg", "b"}, None),
    ],
)
def test_the_name_of_a_pictures_features(id, path, names, expected):
    record = ImageRecord(id, path, "train", ())
    if expected is None:
        with pytest.raises(ValueError, match=f"no features named {id} in there"):
            find_name(record, names.__contains__, "there")
    else:
        assert find_name(record, names.__contains__, "there") == expected


def test_names_of_both_kinds_are_ambiguous():
    record = ImageRecord(12, "a.jpg", "train", ())
    with pytest.raises(AmbiguousName, match="there: features named '12' and 'a' for one picture"):
        find_name(record, {"12", "a"}.__contains__, "there")


def test_features_of_more_than_a_gibibyte_are_not_read(tmp_path, monkeypatch):
    require_size(1 << 30, "a")
    with pytest.raises(ValueError, match="a: 1,073,741,825 bytes for one picture, more than 1,073"):
        require_size((1 << 30) + 1, "a")
    record, values = ImageRecord(7, "7.jpg", "train", ()), np.zeros((30, 10))
    np.savez_compressed(tmp_path / "7.npz", x=values)  # of a few hundred bytes
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["7"] = values
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "7.npy", values)
    for limit, refuses in ((3000, False), (2000, True)):
        monkeypatch.setattr(found_module, "MAX_BYTES", limit)
        for source in (tmp_path, tmp_path / "a.h5", folder):
            if refuses:
                with pytest.raises(ValueError, match="7.* bytes for one picture, more than 2,000"):
                    open_external_features(source)(record)
            else:
                assert open_external_features(source)(record).features.shape == (30, 10)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError(), "not enough memory"), (OSError("one line\nand another"), "one line")],
)
def test_errors_of_reading_cost_one_line(monkeypatch, error, reason):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(ValueError, match=rf"^7\.npy: cannot be read \({reason}\)$"):
        read_array(b"", "7.npy")


def test_arrays_that_are_named_and_boxes_beside_them(tmp_path):
    values = {"x": np.ones((2, 3)), "boxes": np.zeros((2, 4)), "bbox": np.ones((2, 4))}
    np.savez(tmp_path / "7.npz", **values, height=[[60]], width=[[100]])
    plain = read_array(tmp_path / "7.npz", "7.npz")
    assert plain.features.shape == (2, 3) and plain.boxes.max() == 0 and plain.size == (100, 60)
    named = read_array(tmp_path / "7.npz", "7.npz", "boxes")
    assert named.features.max() == 0 and named.boxes.min() == 1


def test_datasets_of_an_hdf5_file(tmp_path):
    values, boxes = np.ones((3, 2)), np.full((3, 4), 20)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, size in (("1", [100, 50]), ("2", [[100, 50]]), ("3", [100, 50, 3])):
            file[f"{name}_features"], file[f"{name}_boxes"] = values, boxes
            file[f"{name}_size"] = size
        file["4"], file["5"], file["5_features"] = values, values, 2 * values
        file["6_features"] = values
        file.create_group("6_boxes"), file.create_group("7_features")
    read = open_external_features(tmp_path / "a.h5")

    def of(id):
        return read(ImageRecord(id, "x.jpg", "train", ()))

    assert of(1).size == of(2).size == (100, 50) and of(3).size is None
    assert np.array_equal(of(1).boxes, boxes) and of(4).boxes is None and of(4).size is None
    with pytest.raises(ValueError, match=r"a\.h5: 5 and 5_features for .* --key features$"):
        of(5)
    keyed = open_external_features(tmp_path / "a.h5", "features")
    assert keyed(ImageRecord(5, "x.jpg", "train", ())).features.max() == 2
    with pytest.raises(ValueError, match="6_boxes: not a dataset"):
        of(6)
    with pytest.raises(ValueError, match="no features named 7"):
        of(7)


def test_values_of_a_pth_file(tmp_path):
    table = {1: torch.ones(2, 3, dtype=torch.bfloat16), 2: [1, 2], "3": np.ones((2, 3))}
    for older in (False, True):
        path = tmp_path / f"{older}.pth"
        torch.save(table, path, _use_new_zipfile_serialization=not older)
        read = open_external_features(path)
        for id in (1, 3):
            features = read(ImageRecord(id, "x.jpg", "train", ())).features
            assert features.shape == (2, 3) and (features == 1).all()
        with pytest.raises(ValueError, match="2 is a list, not an array"):
            read(ImageRecord(2, "x.jpg", "train", ()))
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="not a dictionary from ids to features"):
        open_external_features(tmp_path / "list.pth")
