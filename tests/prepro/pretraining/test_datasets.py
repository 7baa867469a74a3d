"""Folders of classes, CIFAR's binary files and packed files: reading, and refused input."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from prepro import pack
from prepro.images import BadImage
from prepro.pretraining import packed_images
from prepro.pretraining.datasets import open_dataset


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "data")


def write_folder(root, count=4, size=40, classes=("red", "green")):
    """An ImageFolder whose classes differ in colour; noise makes images differ."""
    rng = np.random.default_rng(0)
    for part, number in (("train", count), ("val", max(2, count // 2))):
        for channel, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return root


def test_reading_a_folder_of_classes(folder):
    (folder / "train" / "red" / "deeper").mkdir()
    (folder / "train" / "red" / "0.png").rename(folder / "train" / "red" / "deeper" / "x.PNG")
    (folder / "train" / "red" / "notes.txt").write_text("no picture")
    (folder / "train" / "blue").symlink_to(folder / "val" / "red")
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "red" / ".0.png").write_bytes(b"")
    data = open_dataset(folder)
    assert data.classes == ("blue", "green", "red")
    assert data.train.targets.tolist() == [0] * 2 + [1] * 4 + [2] * 4
    assert data.val.targets.tolist() == [1] * 2 + [2] * 2
    assert len(data.train) == 10
    assert data.train.open(9).size == (40, 40) and data.train.name(9).endswith("deeper/x.PNG")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: None, "no train and val folders of classes"),
        (lambda root: (root / "train").mkdir(), "no train and val folders"),
        (lambda root: [(root / p).mkdir() for p in ("train", "val")], "no class folder"),
        (lambda root: write_folder(root, classes=("one",)), "one class, one; at least two classes"),
        (lambda root: [(root / p).mkdir(parents=True) for p in ("train/a", "train/b", "val")],
         r"train: no pictures \(.jpg"),
        (lambda root: write_folder(root).joinpath("val/pink").mkdir(), "does not have: pink"),
    ],
)  # fmt: skip
def test_invalid_folders_are_refused(tmp_path, break_it, message):
    break_it(tmp_path)
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_dataset(tmp_path / "nowhere")


def test_packed_files_are_byte_identical(folder, tmp_path, capsys):
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"<html>")
    pack.main(pack.Options(folder, tmp_path / "p.h5"))
    original, packed = open_dataset(folder), open_dataset(tmp_path / "p.h5")
    sizes = f"{len(original.train)} pictures for training, {len(original.val)} for validation"
    assert capsys.readouterr().out == f"{tmp_path / 'p.h5'}  {sizes}\n"
    assert packed.classes == original.classes
    for split in ("train", "val"):
        images, files = getattr(packed, split), getattr(original, split)
        assert images.targets.tolist() == files.targets.tolist() and len(images) == len(files)
        for index, path in enumerate(files.paths):
            with open(path, "rb") as file:
                assert images.read(index) == file.read()
            assert images.name(index) == path
    bad = next(i for i in range(len(packed.train)) if "bad" in packed.train.name(i))
    with pytest.raises(BadImage):
        packed.train.open(bad)
    unpickled = pickle.loads(pickle.dumps(packed.train))  # as in a worker
    assert unpickled.read(0) == packed.train.read(0)


def test_a_picture_that_changes_while_it_is_packed_is_named(folder, tmp_path, monkeypatch):
    data = open_dataset(folder)
    read = np.fromfile
    monkeypatch.setattr(packed_images.np, "fromfile", lambda *given: read(*given)[:-1])
    with pytest.raises(ValueError, match=r"0\.png changed while it was packed"):
        packed_images.write(data, tmp_path / "p.h5")
    assert not (tmp_path / "p.h5").exists()


def test_files_that_prepro_pack_did_not_write_are_refused(tmp_path):
    import h5py

    (tmp_path / "x.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        open_dataset(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        for name in packed_images.DATASETS:
            file[name] = [0]
    with pytest.raises(ValueError, match=r"not a file of prepro\.pack"):
        open_dataset(tmp_path / "y.h5")


def write_cifar(root, kind):
    rng, labels = np.random.default_rng(kind), 1 if kind == 10 else 2
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]
    rows = {}
    for name in names if kind == 10 else ["train.bin", "test.bin"]:
        rows[name] = rng.integers(0, 256, (7, labels + 3072), dtype=np.uint8)
        rows[name][:, labels - 1] %= kind
        (root / name).write_bytes(rows[name].tobytes())
    meta = root / ("batches.meta.txt" if kind == 10 else "fine_label_names.txt")
    meta.write_text("\n".join(f"class{n}" for n in range(kind)) + "\n\n")
    return rows


@pytest.mark.parametrize(
    ("kind", "first", "train"), [(10, "data_batch_1.bin", 35), (100, "train.bin", 7)]
)
def test_reading_cifars_binary_version(tmp_path, kind, first, train):
    rows = write_cifar(tmp_path, kind)[first]
    data = open_dataset(tmp_path)
    assert (len(data.train), len(data.val), len(data.classes)) == (train, 7, kind)
    labels = rows.shape[1] - 3072
    assert data.train.targets[:7].tolist() == rows[:, labels - 1].tolist()
    red = np.asarray(data.train.open(3))[:, :, 0]
    assert np.array_equal(red.reshape(-1), rows[3, labels : labels + 1024])
    assert data.train.name(3) == "picture 3"
    mean, std = {  # of fb.resnet.torch
        10: ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        100: ((129.3, 124.1, 112.4), (68.2, 65.4, 70.4)),
    }[kind]
    assert data.mean == pytest.approx([value / 255 for value in mean])
    assert data.std == pytest.approx([value / 255 for value in std])


@pytest.mark.parametrize("name", ["batches.meta", "meta"])
def test_cifars_python_version_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="python version is a pickle"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"x" * 3000, b""])
def test_cifar_files_that_are_cut_off_are_refused(tmp_path, content):
    write_cifar(tmp_path, 10)
    (tmp_path / "test_batch.bin").write_bytes(content)
    message = f"{len(content)} bytes are no whole number of CIFAR's rows"
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar_classes_out_of_range_are_refused(tmp_path, kind):
    rows = write_cifar(tmp_path, kind)
    name = "test_batch.bin" if kind == 10 else "test.bin"
    for number in (kind - 1, kind):
        rows[name][2, 0 if kind == 10 else 1] = number  # CIFAR-100: coarse first, then fine
        (tmp_path / name).write_bytes(rows[name].tobytes())
        if number < kind:
            assert open_dataset(tmp_path).val.targets[2] == kind - 1
    with pytest.raises(ValueError, match=f"class {kind}, expected 0 to {kind - 1}"):
        open_dataset(tmp_path)
    (meta,) = tmp_path.glob("*.txt")
    meta.write_text("cat dog")
    with pytest.raises(ValueError, match=f"2 class names, expected {kind}"):
        open_dataset(tmp_path)


def test_a_wrong_folder_is_a_one_line_error(tmp_path):
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "prepro.pretrain", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("prepro.pretrain: ") and done.stderr.count("\n") == 1
