"""prepro.augment: mirrored and cropped pictures, labels that repeat the captions of each."""

import json
import os

import h5py
import numpy as np
import pytest
from PIL import Image

from caption.data.data_folder import DataFolder
from prepro import augment, features, labels
from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import read_labels, write_labels
from prepro.storage.label_rows import RecordRows
from prepro.vocabulary import Vocabulary

WORDS = ("a", "dog", "left", "cat")
RECORDS = (
    ImageRecord(7, "in/one.jpg", "train", ("a dog", "a cat a")),
    ImageRecord(8, "two.png", "train", ("dog",)),
    ImageRecord("x", "three.jpg", "train", ("a dog", "left dog")),
    ImageRecord(9, "four.jpg", "val", ("cat",)),
)


@pytest.fixture
def folder(tmp_path):
    """Pictures that are red on the left and blue on the right."""
    folder = tmp_path / "data"
    (folder / "pictures/in").mkdir(parents=True)
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:, :16, 0] = pixels[:, 16:, 2] = 200
    for record in RECORDS:
        Image.fromarray(pixels).save(folder / "pictures" / record.path)
    encoded = [
        [WORDS.index(word) + 1 for word in caption.split()]
        for record in RECORDS
        for caption in record.captions
    ]
    write_labels(folder, RECORDS, Vocabulary(WORDS), encoded, 4, {"image_root": "pictures"})
    return folder


def run(folder, crops=0):
    out = folder.parent / "out"
    return augment.main(augment.Options(folder, out, crops)), out


def captions_of(found, row):
    first, last = found.ranges[row]
    return [found.labels[i, : found.lengths[i]].tolist() for i in range(first, last)]


def check_labels(out):
    found = read_labels(out)
    assert [(r.id, r.path, r.split) for r in found.records] == [
        (7, "original/in/one.jpg", "train"),
        (8, "original/two.png", "train"),
        ("x", "original/three.jpg", "train"),
        (9, "original/four.jpg", "val"),
        ("mirrored/in/one.jpg", "mirrored/in/one.jpg", "train"),
        ("mirrored/two.png.jpg", "mirrored/two.png.jpg", "train"),
    ]
    assert found.vocabulary.words == WORDS and found.labels.shape == (9, 4)
    for row, source in enumerate((0, 1, 2, 3, 0, 1)):
        assert found.records[row].captions == RECORDS[source].captions
        assert captions_of(found, row) == [
            [WORDS.index(word) + 1 for word in caption.split()]
            for caption in RECORDS[source].captions
        ]
    return found


def test_training_pictures_are_mirrored_unless_a_caption_names_a_side(folder, capsys):
    status, out = run(folder)
    assert status == 0
    assert capsys.readouterr().out == (f"{out}: 4 pictures as they were, 2 changed (2 mirrored)\n")
    found = check_labels(out)
    for record in found.records:
        path = out / "images" / record.path
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        is_red_left = pixels[:, :12, 0].mean() > 150 and pixels[:, 20:, 2].mean() > 150
        is_red_right = pixels[:, 20:, 0].mean() > 150 and pixels[:, :12, 2].mean() > 150
        assert (is_red_left, is_red_right) == (
            (False, True) if record.path.startswith("mirrored") else (True, False)
        )
        assert pixels.shape == (24, 32, 3)
    assert os.path.samefile(out / "images/original/two.png", folder / "pictures/two.png")


def test_crops_are_windows_of_the_picture_or_of_its_mirror_image(folder):
    """A pixel's red tells its column, its green its row, as far as JPEG keeps them."""
    rows, columns = np.mgrid[:48, :64]
    pixels = np.stack([columns * 4, rows * 5, rows * 0], -1).astype(np.uint8)
    for record in RECORDS:
        Image.fromarray(pixels).save(folder / "pictures" / record.path, quality=95)
    status, out = run(folder, crops=2)
    paths = [record.path for record in read_labels(out).records]
    assert status == 0 and paths[6:11] == [
        "crop1/in/one.jpg",
        "crop1/two.png.jpg",
        "crop1/three.jpg",  # its caption says left: cropped, but never mirrored
        "mirrored1/in/one.jpg",
        "mirrored1/two.png.jpg",
    ]
    assert len(paths) == 16 and not any("three" in path for path in paths if "mirr" in path)
    windows = set()
    for path in paths[6:]:
        with Image.open(out / "images" / path) as picture:
            seen = np.asarray(picture).astype(float)
        height, width = seen.shape[:2]
        assert 38 <= height <= 48 and 51 <= width <= 64
        x, y = seen[..., 0].mean(0) / 4, seen[..., 1].mean(1) / 5
        step = -1 if path.startswith("mirrored") else 1
        left, top = np.median(x - step * np.arange(width)), np.median(y - np.arange(height))
        assert abs(x - (left + step * np.arange(width))).max() < 1.5
        assert abs(y - (top + np.arange(height))).max() < 1.5
        windows.add((round(left), round(top), height, width))
    assert len(windows) > 5
    first = [(out / "images" / path).read_bytes() for path in paths]
    for path in paths[6:]:
        (out / "images" / path).unlink()
    run(folder, crops=2)
    assert [(out / "images" / path).read_bytes() for path in paths] == first


def test_features_and_training_read_the_folder(folder):
    _, out = run(folder)
    options = features.Options(
        data=out, encoder="resnet8", weights="none", resize=40, crop=32, workers=0, device="cpu"
    )
    assert features.main(options) == 0
    data = DataFolder.open(out)
    assert len(data.split("train")) == 5 and len(data.split("val")) == 1


def test_records_that_are_read_by_row(folder, monkeypatch):
    monkeypatch.setattr(labels, "BY_ROW", 8)
    _, out = run(folder)
    assert isinstance(check_labels(out).records, RecordRows)
    _, again = augment.main(augment.Options(out, folder.parent / "again")), folder.parent / "again"
    assert len(read_labels(again).records) == 10


def test_a_second_run_writes_only_what_is_missing_or_changed(folder):
    _, out = run(folder)
    one, two = out / "images/mirrored/in/one.jpg", out / "images/mirrored/two.png.jpg"
    one.unlink()
    before = two.stat().st_mtime_ns
    run(folder)
    assert one.exists() and two.stat().st_mtime_ns == before
    Image.new("RGB", (5, 5), "white").save(folder / "pictures/two.png")
    later = two.stat().st_mtime + 10
    os.utime(folder / "pictures/two.png", (later, later))
    run(folder)
    with Image.open(two) as picture:
        assert picture.size == (5, 5)


def test_another_disk_gets_copies(folder, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    _, out = run(folder)
    source, copy = folder / "pictures/two.png", out / "images/original/two.png"
    assert not os.path.samefile(source, copy) and source.read_bytes() == copy.read_bytes()


def test_a_turned_photograph_is_mirrored_as_it_is_seen(folder):
    """Orientation 6 means: turn by 90 degrees clockwise."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[:12] = 200  # the upper half, which is seen on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "pictures/in/one.jpg", exif=exif)
    _, out = run(folder)
    with Image.open(out / "images/mirrored/in/one.jpg") as picture:
        seen = np.asarray(picture)
    assert seen.shape == (32, 24, 3) and seen[:, :8].mean() > 150 > 50 > seen[:, 16:].mean()


def test_pictures_that_cannot_be_read_are_told_and_left_out(folder, capsys):
    (folder / "pictures/two.png").write_bytes(b"no picture")
    (folder / "pictures/in/one.jpg").unlink()
    status, out = run(folder)
    told = capsys.readouterr()
    assert status == 1 and "0 changed (0 mirrored); 2 could not be read" in told.out
    assert "prepro.augment: two.png: not a picture" in told.err
    assert "prepro.augment: in/one.jpg: no such file" in told.err
    assert [record.path for record in read_labels(out).records][4:] == []


def test_folders_that_cannot_be_augmented(folder):
    for crops in (-1, 101):
        with pytest.raises(ValueError, match=f"--crops {crops}: it must be from 0 to 100"):
            run(folder, crops)
    with pytest.raises(ValueError, match="the folder of --data"):
        augment.main(augment.Options(folder, folder / "../data"))
    (folder / "pictures/a.tar").touch()
    records = [ImageRecord(1, "a.tar/one.jpg", "train", ("a",))]
    write_labels(folder, records, Vocabulary(WORDS), [[1]], 4, {"image_root": "pictures"})
    with pytest.raises(ValueError, match="tar files or on a server; unpack them"):
        run(folder)


def test_a_name_that_leads_out_of_the_new_folder_is_refused(folder):
    """It leads back into the folder of pictures, but would not lead into another one."""
    records = [ImageRecord(1, "../../data/pictures/four.jpg", "val", ("a",))]
    write_labels(folder, records, Vocabulary(WORDS), [[1]], 4, {"image_root": "pictures"})
    with pytest.raises(ValueError, match="leads out of the image folder"):
        run(folder)
    assert not list((folder.parent / "out").rglob("*.jpg"))


def test_pictures_of_another_folder_replace_those_of_the_same_name(folder):
    """Also where they are older than what was made from the first folder."""
    _, out = run(folder, crops=1)
    for record in RECORDS:
        path = folder / "pictures" / record.path
        path.unlink()
        Image.new("RGB", (20, 10), "white").save(path)
        os.utime(path, (1e9, 1e9))
    run(folder, crops=1)
    paths = [out / "images" / record.path for record in read_labels(out).records]
    assert len(paths) == 11
    for path in paths:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("RGB")).min() > 250


def test_two_pictures_with_one_name_are_refused(folder):
    Image.new("RGB", (5, 5)).save(folder / "pictures/two.png.jpg")
    records = [
        ImageRecord(1, "two.png", "train", ("a",)),
        ImageRecord(2, "two.png.jpg", "train", ("a",)),
    ]
    write_labels(folder, records, Vocabulary(WORDS), [[1], [1]], 4, {"image_root": "pictures"})
    with pytest.raises(ValueError, match=r"mirrored/two.png.jpg would be made twice.*rename"):
        run(folder)
    assert not (folder.parent / "out").exists()


def test_left_in_a_caption_counts_where_its_token_is_rare_or_cut(folder):
    records = [
        ImageRecord(1, "two.png", "train", ("a dog to the LEFT",)),
        ImageRecord(2, "four.jpg", "train", ("a cat leftover",)),
    ]
    write_labels(folder, records, Vocabulary(WORDS), [[1], [1]], 4, {"image_root": "pictures"})
    _, out = run(folder)
    assert [record.path for record in read_labels(out).records][2:] == ["mirrored/four.jpg"]


def test_labels_without_the_text_of_captions(folder):
    """Those of neuraltalk2."""
    found = json.loads((folder / "labels.json").read_text())
    for image in found["images"]:
        del image["captions"]
    for name in ("captions_sha256", "arrays_sha256"):
        del found[name]
    (folder / "labels.json").write_text(json.dumps(found))
    with h5py.File(folder / "labels.h5", "r+") as file:
        del file.attrs["captions"]
    _, out = run(folder)
    assert read_labels(out).records[4].captions == ("a dog", "a cat a")


def test_a_picture_with_a_long_comment(folder):
    picture = Image.new("RGB", (9, 9))
    picture.info["comment"] = b"x" * 70_000
    picture.save(folder / "pictures/two.png", "GIF", comment=b"x" * 70_000)
    status, out = run(folder)
    assert status == 0 and (out / "images/mirrored/two.png.jpg").exists()


def test_pictures_that_vanish_or_are_none_are_told(folder, capsys):
    run(folder)
    (folder / "pictures/two.png").unlink()
    (folder / "pictures/four.jpg").write_text("secret")  # of the split val
    (folder.parent / "out/images/original/four.jpg").unlink()
    status, out = run(folder)
    told = capsys.readouterr()
    assert status == 1 and "1 changed (1 mirrored); 2 could not be read" in told.out
    assert "two.png: no such file" in told.err and "four.jpg: not a picture" in told.err
    assert not (out / "images/original/four.jpg").exists()


def test_another_data_folder_is_not_overwritten(folder):
    _, out = run(folder)
    with pytest.raises(ValueError, match="another data folder, not one of this command"):
        augment.main(augment.Options(out, folder))
    write_labels(folder, [], Vocabulary(WORDS), [], 4, {"image_root": "pictures"})
    with pytest.raises(ValueError, match="no picture"):
        run(folder)
