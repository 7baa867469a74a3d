"""The small parts of an extraction: plans of batches, readers, lists, messages, changed files."""

import fcntl
import hashlib
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from prepro.annotations.records import ImageRecord
from prepro.extraction import batching, summary
from prepro.extraction.changed_pictures import changed_rows
from prepro.extraction.image_list import read_image_list
from prepro.extraction.image_loader import (
    BatchDataset,
    ImageFolderReader,
    ImageSizes,
    digest,
    make_loader,
)
from prepro.extraction.merge import has_own_rows
from prepro.extraction.shards import local_device
from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter, create
from prepro.storage.label_file import images_sha256, write_labels
from prepro.transform import Transform
from prepro.vocabulary import Vocabulary

FULL = Transform(mode="full", resize=640)


def test_a_batch_has_the_pixels_of_so_many_crops():
    """--batch-size: as many pixels as this number of 224 x 224 crops."""
    plan = batching.same_size_batches([(224, 224)] * 1005, 1000, [True] * 1005)
    assert [len(batch.rows) for batch in plan] == [1000, 5]
    plan = batching.same_size_batches([(448, 112)] * 1005, 500, [True] * 1005)
    assert [batch.size for batch in plan] == [500, 500, 5]
    plan = batching.same_size_batches([(5000, 5000)] * 2, 1, [True] * 2)
    assert [batch.rows for batch in plan] == [(0,), (1,)]


def test_batches_begin_in_the_order_of_the_list():
    shapes = [(100, 90), (90, 100), (90, 100), (100, 90), None, (80, 80), (100, 90)]
    plan = batching.same_size_batches(shapes, 1, [True] * 7)
    assert [batch.rows for batch in plan] == [(0, 3, 6), (1, 2), (5,)]
    shapes = [(500, 400), (400, 500), (500, 400), (300, 300)]
    plan = batching.same_size_batches(shapes, 1, [True] * 4)
    assert [batch.rows for batch in plan] == [(0,), (1,), (2,), (3,)]


@pytest.fixture
def reader(tmp_path):
    """Seven pictures of three sizes."""
    rng = np.random.default_rng(0)
    for i in range(7):
        shape = (40 + i % 3, 30, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{i}.png")
    return ImageFolderReader(tmp_path, [f"{i}.png" for i in range(7)], FULL)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 256])
def test_sizes_are_read_in_order_whatever_the_step(reader, monkeypatch, step):
    monkeypatch.setattr(ImageSizes, "STEP", step)
    sizes = ImageSizes(reader)
    found = [shape for i in range(len(sizes)) for shape in sizes[i]]
    assert found == [(40 + i % 3, 30) for i in range(7)] and len(sizes) == math.ceil(7 / step)
    assert [shape for part in make_loader(sizes, 0) for shape in part] == found


def test_a_batch_of_pixels_has_a_black_slot_for_a_bad_picture(reader):
    (reader.root / "3.png").write_bytes(b"torn")
    (reader.root / "6.png").unlink()
    plan = [batching.BatchPlan(5, (0, 1, 3, 6), (0, 2, 3, 4), 40, 30)]
    ((_, pixels, bad, marks),) = make_loader(BatchDataset(reader, plan), 0)
    assert pixels.shape == (5, 3, 40, 30) and pixels.dtype == torch.uint8
    with Image.open(reader.root / "0.png") as picture:
        assert np.array_equal(pixels[0], np.asarray(picture).transpose(2, 0, 1))
    assert not pixels[1:].any() and bad.keys() == {1, 3, 6}
    assert bad[1] == "its header has another size than its pixels (41, 30)"
    for slot, row in ((0, 0), (2, 1), (3, 3)):
        path = reader.root / f"{row}.png"
        expected = [digest(path.read_bytes()), path.stat().st_size, path.stat().st_mtime_ns]
        assert marks[slot].tolist() == expected
    assert not marks[1].any() and not marks[4].any()
    assert reader.stamp(6) == (0, 0)


def test_the_list_of_pictures_has_ids_and_paths_in_order(tmp_path):
    records = [ImageRecord(7, "b.png", "val", ()), ImageRecord("a.tar/1", "a.tar/1", "test", ())]
    write_labels(tmp_path, records, Vocabulary(("a",)), [], 2, {"image_root": "in"})
    found = read_image_list(tmp_path)
    assert (found.names, found.ids) == (["b.png", "a.tar/1"], [7, "a.tar/1"])
    assert found.sha256 == images_sha256(records) and len(found) == 2
    assert found.root == tmp_path / "in"


def feature_file(path, count, bad=(), marks=None, regions=0):
    create(path, Provenance("n", "w", "w", "{}", "f", 3, regions), range(count), hashed=True)
    good = np.array([row for row in range(count) if row not in bad], int)
    with FeatureWriter(path) as writer:
        picture = None if marks is None else marks[good]
        att = np.ones((len(good), regions, 3)) if regions else None
        writer.write(
            good, np.ones((len(good), 3)), att, dict.fromkeys(bad, "torn"), None, None, picture
        )
    return path


@pytest.mark.parametrize("changed", [0, 1, 20, 21])
def test_changed_pictures_are_named_up_to_twenty(tmp_path, capsys, changed):
    count, names = 25, [f"{i}.png" for i in range(25)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"picture %d" % i)
    reader = ImageFolderReader(tmp_path, names, Transform())
    marks = np.array([(digest(reader.read(i)), *reader.stamp(i)) for i in range(count)])
    file = FeatureFile(feature_file(tmp_path / "features.h5", count, (), marks))
    for i in range(changed):
        (tmp_path / names[i]).write_bytes(b"another picture")
    os.utime(tmp_path / names[22], ns=(5, 5))
    (tmp_path / names[23]).unlink()
    (tmp_path / names[24]).unlink(), (tmp_path / names[24]).mkdir()
    rows, stamps = changed_rows(file, reader)
    assert rows.tolist() == list(range(changed))
    assert stamps[22] == (10, 5) and stamps.keys() <= {22, 24}
    told = capsys.readouterr().err.splitlines()
    shown = min(changed, 20)
    assert told[:shown] == [
        f"prepro.features: {i}.png: changed since its features were computed" for i in range(shown)
    ]
    rest = ["prepro.features: 21 pictures changed since their features were computed"]
    assert told[shown:] == (rest if changed == 21 else [])


def test_the_summary_of_a_file(tmp_path, capsys):
    names = [f"{i}.png" for i in range(1030)]
    path = feature_file(tmp_path / "features.h5", 1030, range(5, 28), regions=4)
    with open(path, "r+b") as file:
        file.truncate(3 << 19)
    assert summary.print_summary(path, names) == 1
    told = capsys.readouterr()
    assert told.out == f"{path}: 1,007 pictures, 4 regions and a vector of 3 each, 1.5 MiB\n"
    bad = [f"prepro.features: {i}.png: torn" for i in range(5, 25)]
    end = "prepro.features: 23 of 1,030 pictures could not be read"
    assert told.err.splitlines() == [*bad, end]
    whole = feature_file(tmp_path / "whole.h5", 1)
    assert summary.print_summary(whole, names[:1]) == 0
    told = capsys.readouterr()
    assert f"{whole}: 1 picture, a vector of 3 each, 0.0 MiB" in told.out and not told.err


def test_the_rows_of_a_stopped_run(tmp_path):
    path = tmp_path / "features.h5"
    create(path, Provenance("n", "w", "w", "{}", "f", 3, 0), range(2000))
    with FeatureWriter(path) as writer:
        writer.write(np.arange(4, 9), np.ones((5, 3)), None, {1: "torn", 2: "torn"})
        told = summary.count_rows(writer)
    assert told == "5 of 2,000 pictures done, 2 bad, 1,993 missing"


def test_a_file_of_own_rows_is_found_while_it_is_locked(tmp_path):
    path = feature_file(tmp_path / "features.h5", 2)
    assert not has_own_rows(tmp_path / "none.h5")
    with open(path, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert has_own_rows(path)


@pytest.mark.parametrize(
    ("name", "environment", "device"),
    [
        ("auto", {"LOCAL_RANK": "5"}, "cuda:1"),
        ("auto", {}, "auto"),
        ("cpu", {"LOCAL_RANK": "5"}, "cpu"),
    ],
)
def test_each_process_of_torchrun_has_a_gpu(monkeypatch, name, environment, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert local_device(name, environment) == device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device(name, environment) == name


def test_a_digest_is_a_signed_number_of_8_bytes():
    for data in (b"", b"a", b"abc"):
        expected = hashlib.blake2b(data, digest_size=8).digest()
        assert digest(data).to_bytes(8, "big", signed=True) == expected
