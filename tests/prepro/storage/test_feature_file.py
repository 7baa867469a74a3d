"""features.h5: rows are read as written, in every process; invalid files are errors."""

import json
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest

from prepro.storage.feature_file import BAD, MISSING, FeatureFile, Provenance, contiguous_ranges
from prepro.storage.feature_writer import FeatureWriter, create

N, D, R = 9, 6, 4
MADE_BY = Provenance("resnet18", "none", "ab12", json.dumps({"mode": "short"}), "f00d", D, R)


def numbers(rows, *shape):
    """Row i is full of i + 1."""
    return (np.asarray(rows) + 1.0).reshape(-1, *[1] * len(shape)) * np.ones(shape, np.float16)


@pytest.fixture
def path(tmp_path):
    """Rows 0 to 7 in two batches, of which 3 is bad; row 8 missing."""
    path = tmp_path / "features.h5"
    create(path, MADE_BY, [f"id{i}" for i in range(N)])
    with FeatureWriter(path) as writer:
        rows = np.array([0, 1, 2, 4])
        writer.write(rows, numbers(rows, D), numbers(rows, R, D), {3: "a page of HTML"})
        rows = np.array([5, 6, 7])
        writer.write(rows, numbers(rows, D), numbers(rows, R, D))
    return path


def finish(path):
    with FeatureWriter(path) as writer:
        writer.write(np.array([8]), numbers([8], D), numbers([8], R, D))


def test_rows_come_back_in_the_order_asked_for(path):
    found = FeatureFile(path)
    rows = np.array([7, 0, 1, 2, 6, 6, 5])
    assert found.fc(rows).dtype == found.att(rows).dtype == np.float16
    assert np.array_equal(found.fc(rows), numbers(rows, D))
    assert np.array_equal(found.att(rows), numbers(rows, R, D))
    assert found.fc(np.array([], int)).shape == (0, D)
    assert found.mask(rows).shape == (7, R) and found.mask(rows).all()
    with pytest.raises(IndexError, match="rows -1"):
        found.fc(np.array([-1]))
    with pytest.raises(IndexError, match="of 9"):
        found.fc(np.array([9]))


def test_reader_has_provenance_status_and_bad_rows(path):
    found = FeatureFile(path)
    assert found.provenance == MADE_BY and found.transform == {"mode": "short"}
    assert found.bad == {3: "a page of HTML"} and len(found) == N
    assert found.status.tolist() == [1, 1, 1, BAD, 1, 1, 1, 1, MISSING]
    assert not found.complete
    with pytest.raises(ValueError, match="1 of 9 pictures missing"):
        found.require("f00d")
    with pytest.raises(ValueError, match="f00d.*beef"):
        found.require("beef")
    finish(path)
    FeatureFile(path).require("f00d")
    FeatureFile(path).require("f00d", N)
    with pytest.raises(ValueError, match="damaged .9 rows for 10 pictures"):
        FeatureFile(path).require("f00d", N + 1)
    with h5py.File(path) as file:
        assert file.attrs["complete"]


@pytest.mark.parametrize("field", ["encoder", "weights_sha256", "transform", "images", "dim"])
def test_other_provenance_is_an_error_with_both_values(path, field):
    other = Provenance(**{**MADE_BY.__dict__, field: 77 if field == "dim" else "other"})
    with pytest.raises(ValueError) as error:
        other.check(MADE_BY, path)
    assert str(getattr(MADE_BY, field)) in str(error.value)
    assert str(getattr(other, field)) in str(error.value) and field in str(error.value)
    Provenance(**{**MADE_BY.__dict__, "weights": "renamed.pth"}).check(MADE_BY, path)


def test_regions_that_differ_in_number(tmp_path):
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(2), counted=True)
    with FeatureWriter(path) as writer:
        rows = np.arange(2)
        count = np.array([3, 1], np.uint16)
        writer.write(rows, numbers(rows, D), numbers(rows, R, D), count=count)
    mask = FeatureFile(path).mask(np.array([1, 0]))
    assert mask.tolist() == [[True, False, False, False], [True, True, True, False]]


def _sum(found, queue):
    queue.put(float(found.fc(np.array([1, 5])).sum()))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_open_reader_works_in_another_process(path, method):
    found = FeatureFile(path)
    found.fc(np.array([0]))
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_sum, args=(found, queue))
    process.start()
    assert queue.get(timeout=60) == D * (2 + 6)
    process.join()
    assert found.fc(np.array([2]))[0, 0] == 3
    assert np.array_equal(pickle.loads(pickle.dumps(found)).fc(np.array([2])), found.fc([2]))


def test_a_flipped_byte_names_its_row(path):
    with h5py.File(path) as file:
        offset = file["att"].id.get_chunk_info_by_coord((6, 0, 0)).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset + 5)
        byte = file.read(1)[0]
        file.seek(offset + 5)
        file.write(bytes([byte ^ 1]))
    found = FeatureFile(path)
    found.fc(np.arange(8))
    with pytest.raises(ValueError, match="att of row 6 is damaged: its checksum"):
        found.att(np.arange(8))


def change(path, what):
    with h5py.File(path, "r+") as file:
        what(file)


def replace(name, data):
    def what(file):
        file.pop(name, None)
        file[name] = data

    return what


def external(file):
    del file["fc"]
    file["fc"] = h5py.ExternalLink("other.h5", "/fc")


def soft(file):
    file["more"] = h5py.SoftLink("/fc")


def virtual(file):
    layout = h5py.VirtualLayout((N, D), np.float16)
    layout[:] = h5py.VirtualSource("other.h5", "fc", (N, D))
    del file["fc"]
    file.create_virtual_dataset("fc", layout)


def raw(file):
    del file["fc"]
    size = 2 * N * D
    file.create_dataset("fc", (N, D), np.float16, external=[("other.raw", 0, size)])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (raw, "'fc' lies in another file"),
        (lambda file: file.create_group("boxes"), "'boxes' is not a dataset of 3 dimensions"),
        (replace("boxes", np.zeros((N, R, 5), np.float32)), r"expected \(9, 4, 4\)"),
        (replace("picture", np.zeros((N, 4), np.int64)), r"expected \(9, 3\)"),
        (external, "'fc' is a link"),
        (soft, "'more' is a link"),
        (virtual, "'fc' lies in another file"),
        (replace("fc", np.zeros((N, D), np.float32)), "'fc' holds float32, expected float16"),
        (replace("fc", np.zeros(N, np.float16)), "2 dimensions"),
        (replace("fc", np.zeros((N, D + 1), np.float16)), r"\(9, 7\), expected \(9, 6\)"),
        (replace("att", np.zeros((N - 1, R, D), np.float16)), "att has the shape"),
        (replace("status", np.zeros(N, np.int64)), "'status' holds int64"),
        (lambda file: file.__delitem__("id"), "no dataset 'id'"),
        (lambda file: file.__delitem__("att"), "regions is 4"),
        (lambda file: file.attrs.modify("version", 2), "schema version 2, this code reads 1"),
        (lambda file: file.attrs.__delitem__("encoder"), "no attribute encoder"),
    ],
)
def test_crafted_files_are_refused(path, what, message):
    change(path, what)
    with pytest.raises(ValueError, match=message):
        FeatureFile(path)


@pytest.mark.parametrize("transform", ["", "no JSON", "[1]", "null", "[" * 100_000])
def test_a_transform_that_is_no_object_names_the_file(path, transform):
    with h5py.File(path, "r+") as file:
        file.attrs["transform"] = transform
    with pytest.raises(ValueError, match="features.h5: attribute transform is not a JSON object"):
        FeatureFile(path)


def test_other_files_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="prepro.features"):
        FeatureFile(tmp_path / "features.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        FeatureFile(tmp_path / "text.h5")


def test_second_writer_is_an_error(path):
    code = "import sys; from pathlib import Path;"
    code += "from prepro.storage.feature_writer import FeatureWriter;"
    code += "FeatureWriter(Path(sys.argv[1]))"
    import subprocess
    import sys

    with FeatureWriter(path):
        second = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert second.returncode and "another process is writing it" in second.stderr


def test_a_file_that_another_process_creates_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "features.h5"
    monkeypatch.setattr(
        "prepro.storage.feature_writer._fill", lambda *_: path.write_text("the other one's")
    )
    with pytest.raises(OSError, match="another process has just created it"):
        create(path, MADE_BY, range(N))
    assert path.read_text() == "the other one's" and list(tmp_path.iterdir()) == [path]


def test_full_disk_leaves_no_file(tmp_path):
    huge = Provenance(**{**MADE_BY.__dict__, "dim": 2048, "regions": 196})
    with pytest.raises(OSError, match="needs .* MB, but .* has .* MB left"):
        create(tmp_path / "features.h5", huge, range(10_000_000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], []), ([4], [(0, 1)]), ([1, 2, 3, 7, 6, 5], [(0, 3), (3, 4), (4, 5), (5, 6)])],
)
def test_contiguous_ranges(rows, expected):
    assert contiguous_ranges(np.array(rows)) == expected
