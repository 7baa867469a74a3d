"""Writing features.h5: the space, the layout, the state of a file while it is being written."""

import fcntl
import json
import os
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from prepro.storage import feature_file, feature_writer
from prepro.storage.feature_file import FeatureFile, Provenance, hash_of_pictures
from prepro.storage.feature_writer import FeatureWriter, bytes_needed, create
from tests.prepro.storage.test_feature_file import MADE_BY, D, N, R, finish, numbers


def shaped(dim, regions):
    return Provenance(**{**MADE_BY.__dict__, "dim": dim, "regions": regions})


@pytest.mark.parametrize(
    ("dim", "regions", "boxed"),
    [(300, 0, False), (200, 12, False), (3, 400, False), (1, 1500, True)],
)
def test_the_space_that_is_asked_for_is_the_space_of_the_file(tmp_path, dim, regions, boxed):
    path, made = tmp_path / "features.h5", shaped(dim, regions)
    create(path, made, range(200), boxed=boxed, hashed=True)
    needed = bytes_needed(made, 200, boxed) if boxed else bytes_needed(made, 200)
    assert 0.98 < path.stat().st_size / needed < 1.08


def test_a_disk_that_is_just_large_enough(tmp_path, monkeypatch):
    made, count = shaped(2048, 196), 10_000_000
    needed = bytes_needed(made, count)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(OSError, match="needs .* MB left") as error:
        create(tmp_path / "features.h5", made, range(count))
    found = re.findall(r"([\d,]+\.\d) MB", str(error.value))
    assert found == [f"{needed / 1e6:,.1f}", f"{(needed - 1) / 1e6:,.1f}"]
    needed = bytes_needed(MADE_BY, N)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=needed))
    create(tmp_path / "features.h5", MADE_BY, range(N))
    assert len(FeatureFile(tmp_path / "features.h5")) == N


def test_a_new_file_is_allocated_and_holds_no_row(tmp_path):
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(N), boxed=True)
    found = FeatureFile(path)
    assert found.has_boxes and found.count is None and found.picture is None
    assert found.shard == "1/1"
    with h5py.File(path) as file:
        assert not file.attrs["complete"] and file["status"][:].tolist() == [0] * N
        for name, shape in (("fc", (D,)), ("att", (R, D)), ("boxes", (R, 4))):
            data = file[name]
            assert data.chunks == (1, *shape)  # each image is one chunk with a checksum
            assert data.fletcher32 and data.compression is None
            assert data.id.get_storage_size() >= N * np.prod(shape) * data.dtype.itemsize


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refused)
    create(tmp_path / "features.h5", MADE_BY, range(N))
    assert len(FeatureFile(tmp_path / "features.h5")) == N
    assert [path.name for path in tmp_path.iterdir()] == ["features.h5"]


def test_a_disk_that_is_full_after_all(tmp_path, monkeypatch):
    made = shaped(2048, 196)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 60))

    def full(*_):
        raise RuntimeError("unable to flush")

    monkeypatch.setattr(feature_writer, "_fill", full)
    needed = f"{bytes_needed(made, 10_000_000) / 1e6:,.1f}"
    with pytest.raises(OSError, match=f"no room for its {needed} MB .unable to flush"):
        create(tmp_path / "features.h5", made, range(10_000_000))
    assert not list(tmp_path.iterdir())


def test_what_is_stored_means_what_it_meant_in_earlier_files(tmp_path):
    """MISSING, DONE and BAD, as files on disk have them."""
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(3))
    with h5py.File(path, "r+") as file:
        file["status"][:], file["reason"][2] = [0, 1, 2], b"torn"
    found = FeatureFile(path)
    assert found.bad == {2: "torn"} and not found.complete
    with pytest.raises(ValueError, match="1 of 3 pictures missing"):
        found.require("f00d")


def test_forgotten_rows_lose_their_hash_and_no_other_row_does(tmp_path):
    path, rows = tmp_path / "features.h5", np.arange(N)
    marks = np.arange(1, 3 * N + 1).reshape(N, 3)
    create(path, MADE_BY, rows, hashed=True)
    with FeatureWriter(path) as writer:
        writer.write(rows, numbers(rows, D), numbers(rows, R, D), picture=marks)
    with h5py.File(path) as file:
        assert file.attrs["complete"]
        assert file.attrs["pictures"].decode() == hash_of_pictures(marks)
    gone = np.array([1, 2, 3, 6])
    with FeatureWriter(path) as writer:
        writer.forget(gone)
        writer.restamp({4: (70, 80)})
    assert not writer.file  # closed, for the next writer
    found = FeatureFile(path)
    marks[gone], marks[4, 1:] = 0, (70, 80)
    assert found.picture.tolist() == marks.tolist()
    assert np.flatnonzero(found.status == feature_file.MISSING).tolist() == gone.tolist()
    with h5py.File(path) as file:
        assert not file.attrs["complete"]
    assert np.array_equal(found.fc(rows), numbers(rows, D))


def test_scattered_rows_leave_the_others_alone(tmp_path):
    path, rows = tmp_path / "features.h5", np.arange(N)
    create(path, MADE_BY, rows)
    with FeatureWriter(path) as writer:
        for own in ([5, 6, 8], [0, 2, 7], [1, 3, 4]):
            own = np.array(own)
            writer.write(own, numbers(own, D), numbers(own, R, D))
    found = FeatureFile(path)
    assert np.array_equal(found.fc(rows), numbers(rows, D)) and found.complete
    assert np.array_equal(found.att(rows), numbers(rows, R, D))


def test_hashes_are_left_out_where_the_file_has_none(tmp_path):
    path, rows = tmp_path / "features.h5", np.arange(N)
    create(path, MADE_BY, rows)
    with FeatureWriter(path) as writer:
        marks = np.ones((N, 3), np.int64)
        writer.write(rows, numbers(rows, D), numbers(rows, R, D), picture=marks)
    assert FeatureFile(path).picture is None and FeatureFile(path).complete


def test_the_first_error_of_a_full_disk_is_the_one_reported(tmp_path):
    def full():
        raise OSError("disk full")

    def writer():
        create(tmp_path / "features.h5", MADE_BY, range(N))
        writer = FeatureWriter(tmp_path / "features.h5")
        writer.file.close()
        writer.file = SimpleNamespace(close=full)
        (tmp_path / "features.h5").unlink()
        return writer

    with pytest.raises(OSError, match="disk full"), writer():
        pass
    with pytest.raises(ZeroDivisionError), writer():
        raise ZeroDivisionError


def test_a_locked_file_is_read(tmp_path):
    """Many network file systems have no locks."""
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(N))
    finish(path)
    with open(path, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert FeatureFile(path).fc(np.array([8]))[0, 0] == 9
        with pytest.raises(OSError, match="another process is writing it"):
            FeatureWriter(path)


def test_a_handle_from_before_a_fork_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(N))
    found, opened = FeatureFile(path), []

    def counted(*given, **more):
        opened.append(os.getpid())
        return open_h5(*given, **more)

    open_h5 = feature_file.open_h5
    monkeypatch.setattr(feature_file, "open_h5", counted)
    parent = os.getpid()
    for process in (parent, parent + 1):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        found.fc(np.array([0])), found.att(np.array([1])), found.ids()
    assert opened == [parent, parent + 1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dim", -1, "attribute dim is '-1', expected int"),
        ("dim", 65_537, "attribute dim is '65537', expected int"),
        ("dim", 65_536, "fc has the shape"),  # a number from 0 to 65,536
        ("dim", "six", "attribute dim is 'six', expected int"),
        ("dim", 6.0, "attribute dim is '6.0', expected int"),
        ("encoder", 3, "attribute encoder is '3', expected str"),
        ("encoder", ["a", "b"], "attribute encoder is .*, expected str"),
    ],
)
def test_attributes_of_another_kind_are_named(tmp_path, name, value, expected):
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(N))
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(ValueError, match=f"features.h5: {expected}"):
        FeatureFile(path)


def test_a_file_without_regions(tmp_path):
    path = tmp_path / "features.h5"
    create(path, shaped(D, 0), range(N), boxed=True)
    found = FeatureFile(path)
    assert not found.has_boxes and found.mask(np.arange(2)).shape == (2, 0)
    assert json.loads(found.provenance.transform) == found.transform
    with h5py.File(path, "r+") as file:
        file["att"] = np.zeros((N, 0, D), np.float16)
    with pytest.raises(ValueError, match="regions is 0, which does not fit its datasets"):
        FeatureFile(path)


def test_a_refused_file_is_closed_and_one_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "features.h5"
    create(path, MADE_BY, range(N))
    with h5py.File(path, "r+") as file:
        file["more"] = h5py.SoftLink("/fc")
    with pytest.raises(ValueError, match="'more' is a link") as error:
        FeatureFile(path)
    with h5py.File(path, "r+") as file:  # an open file would refuse another kind of locking
        del file["more"]
    assert error.value and len(FeatureFile(path)) == N
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError):
        FeatureFile(path)
