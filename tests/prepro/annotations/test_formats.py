"""Annotation formats at their edges: what is recognised, and the place that a message names."""

import fcntl
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from eval import command
from prepro import labels
from prepro.annotations import formats, reader
from prepro.annotations.formats import sgrvinod
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report
from tests.prepro.annotations.test_annotations import coco, write
from tests.prepro.annotations.test_stored_vocabulary import write_cocotalk, write_sgrvinod


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("a.json", {"images": []}, "its keys are 'images'"),
        ("a.json", {"images": {"a": {"sentences": []}}}, "its keys are 'images'"),
        ("a.json", {"images": [{"a": 1}]}, "its keys are 'images'"),
        ("a.json", {"images": 5, "ix_to_word": {}}, "its keys are 'images', 'ix_to_word'"),
        ("a.json", {"images": 5, "annotations": []}, "its keys are 'images', 'annotations'"),
        ("a.json", {"<start>": 1, "<end>": 2}, "its keys are '<start>', '<end>'"),
        ("a.json", dict.fromkeys("abcdefg", 1), "its keys are 'a', 'b', 'c', 'd', 'e'$"),
        ("a.json", 3, "its keys are no object"),
        ("a.csv", "image,number\na.jpg,1\n", "it is no JSON"),
        ("a.csv", "number,caption\n1,a dog\n", "it is no JSON"),
        ("a.txt", "a.jpg#x\tA dog\n", "it is no JSON"),
    ],
)
def test_what_matches_no_format(tmp_path, name, value, what):
    with pytest.raises(ValueError, match=f"{name}: matches no annotation format .*; {what}"):
        reader.read([write(tmp_path / name, value)])


def test_the_keys_of_several_formats_are_those_of_one(tmp_path):
    """COCO files of LXMERT and others have `sentences` or ix_to_word besides."""
    value = coco([(1, "1.jpg", "train")], [(1, "a dog")])
    value["images"][0]["sentences"] = []
    value["ix_to_word"] = {"1": "a"}
    records, report = reader.read([write(tmp_path / "a.json", value)])
    assert records == [ImageRecord(1, "1.jpg", "train", ("a dog",))] and not report.errors
    value = {"<start>": 1, "<end>": 2, "<pad>": 0}
    assert sgrvinod.matches(tmp_path, value) and sgrvinod.matches(tmp_path, value | {"a": 3})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "a.jpg#0\tA dog\nb.jpg\tA cat\n", r"line 2: expected name\.jpg#0"),
        ("a.txt", "a.jpg#0\tA dog\n\nb.jpg#1 A cat\n", r"line 3: expected name\.jpg#0"),
        ("a.csv", "image,caption\na,b\nc,d,e\n", "line 3: 3 fields for 2 columns; put captions wi"),
        ("a.csv", 'image,caption\na,b\nc,"d\n', r"line 3: not CSV"),
        ("a.csv", 'image,caption\na,b\nc,"d" e\n', r"line 3: not CSV"),
        ("a.csv", "image,caption\na,b\n,d\n", "line 3: no picture; expected a column file_path"),
        ("a.jsonl", '{"image": "a", "text": ""}\n\n{"text": "b"}\n', "line 3: no picture"),
        ("a.jsonl", '{"image": 3, "text": ""}\n', "line 1: no picture"),
    ],
)
def test_the_line_of_a_defect_is_named(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=f"{name}, {message}"):
        reader.read([write(tmp_path / name, text)])


def test_rows_of_one_picture_are_joined(tmp_path):
    text = (
        'id; image; caption; split\n7; a.jpg; "A dog; asleep"; train\n; a.jpg; dogs; \n'
        "; b.jpg; A cat\n8; b.jpg; cats; val\n"
    )
    path = write(tmp_path / "captions.csv", text)
    records = formats.read_file(path, "auto", Report())
    assert records == [
        ImageRecord("7", "a.jpg", "train", ("A dog; asleep", "dogs")),
        ImageRecord("8", "b.jpg", "val", ("A cat", "cats")),
    ]
    path = write(tmp_path / "some.jsonl", '{"path": "a", "captions": []}\n{"path": "b"}\n')
    assert [r.captions for r in formats.read_file(path, "auto", Report())] == [(), ()]


def test_flickrs_names_and_captions_may_hold_signs(tmp_path):
    path = write(
        tmp_path / "a.token", "in/a#1.jpg#0\tone\ttwo # 3\nb.x.jpg#11\tB\nin/a#1.jpg#1\tC\n"
    )
    assert formats.read_file(path, "auto", Report()) == [
        ImageRecord("a#1", "in/a#1.jpg", "", ("one\ttwo # 3", "C")),
        ImageRecord("b.x", "b.x.jpg", "", ("B",)),
    ]


def replace(path, name, change):
    with h5py.File(path, "a") as file:
        values = file[name][:]
        del file[name]
        change(file, name, values)


def external(file, name, values):
    file.create_dataset(name, values.shape, values.dtype, external=[("raw", 0, values.nbytes)])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels", lambda f, n, v: f.create_dataset(n, data=v.astype(float)), "labels of float64"),
        ("labels", lambda f, n, v: f.create_dataset(n, data=v[0]), r"labels of uint32 \(6,\)"),
        (
            "labels",
            lambda f, n, v: f.create_dataset(n, data=v + 90 * (v == 8)),
            "word 98 of a vocabulary of 8",
        ),
        ("labels", lambda f, n, v: f.create_dataset(n, data=-v.astype(int)), "word -8 of a voc"),
        ("labels", external, "no dataset 'labels'"),
        ("labels", lambda f, n, v: f.update({n: h5py.ExternalLink("a.h5", n)}), "no dataset 'lab"),
        ("labels", lambda f, n, v: f.update({n: h5py.SoftLink("/label_length")}), "no dataset 'l"),
        ("labels", lambda f, n, v: None, "no dataset 'labels'"),
        ("label_start_ix", lambda f, n, v: f.create_dataset(n, data=v[1:]), "3 pictures, .* has 4"),
        ("label_end_ix", lambda f, n, v: f.create_dataset(n, data=v[1:]), "4 pictures, .* has 4"),
    ],
)
def test_labels_of_cocotalk_that_do_not_fit_are_named(tmp_path, name, change, message):
    write_cocotalk(tmp_path)
    replace(tmp_path / "cocotalk_label.h5", name, change)
    with pytest.raises(ValueError, match=rf"cocotalk_label\.h5: {message}"):
        reader.read([tmp_path / "cocotalk.json"])


def test_words_of_cocotalk_that_are_missing_are_named(tmp_path):
    write_cocotalk(tmp_path)
    about = json.loads((tmp_path / "cocotalk.json").read_text())
    for gone in ("3", "1"):
        del about["ix_to_word"][gone]
        (tmp_path / "cocotalk.json").write_text(json.dumps(about))
        with pytest.raises(ValueError, match=rf"cocotalk\.json: ix_to_word has no word {gone}$"):
            reader.read([tmp_path / "cocotalk.json"])


@pytest.mark.parametrize("ending", ["_label.h5", ".h5", "_labels.h5"])
def test_the_numbers_of_cocotalk_lie_beside_it(tmp_path, ending):
    vocabulary, _ = write_cocotalk(tmp_path)
    path = (tmp_path / "cocotalk_label.h5").rename(tmp_path / f"cocotalk{ending}")
    with open(path, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # many network file systems have no locks
        files = [tmp_path / "cocotalk.json"]
        records, _ = reader.read(files)
        stored = reader.read_vocabulary(records, files)
    assert stored == (tuple(vocabulary), 6) and len(records) == 4
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"needs cocotalk_label\.h5 \(or \.h5\) beside it"):
        reader.read(files)


def test_captions_of_one_word_and_pictures_without_captions(tmp_path):
    value = {
        "ix_to_word": {"1": "a"},
        "images": [{"file_path": f"{i}.jpg", "split": "test"} for i in range(3)],
    }
    path = write(tmp_path / "cocotalk.json", value)
    for rows in ([[1], [1]], np.zeros((0, 5), int)):
        with h5py.File(tmp_path / "cocotalk_label.h5", "w") as file:
            file["labels"] = np.array(rows)
            file["label_start_ix"] = [1, 2, len(rows) + 1]
            file["label_end_ix"] = [min(1, len(rows)), len(rows), len(rows)]
        found = formats.read_file(path, "cocotalk", Report())
        expected = [("a",), ("a",), ()] if len(rows) else [()] * 3
        assert [record.captions for record in found] == expected


def test_the_format_that_is_asked_for_is_the_one_that_is_read(tmp_path):
    raw = write(tmp_path / "raw.json", [{"file_path": "a.jpg", "captions": "a dog"}])
    assert formats.read_file(raw, "cocotalk", Report())[0].captions == ("a dog",)
    for name in ("coco", "sgrvinod"):
        with pytest.raises(ValueError, match=f"asked for the format {name}, but this is raw"):
            formats.read_file(raw, name, Report())


def test_the_report_of_stored_words_names_their_file(tmp_path, capsys):
    vocabulary, _ = write_cocotalk(tmp_path)
    labels.main(labels.Options((tmp_path / "cocotalk.json",), tmp_path, tmp_path / "out"))
    told = capsys.readouterr().out
    assert f", the {len(vocabulary)} words of cocotalk.json; " in told
    assert "of the training words are rare (UNK), " in told and "--min-count" not in told
    assert told.endswith("0.0% of the captions are cut at 6 words\n")


@pytest.mark.parametrize("per_image", [1, 2])
def test_captions_per_picture_of_sgrvinods_files(tmp_path, per_image):
    path, numbers, _ = write_sgrvinod(tmp_path, per_image)
    files = [path]
    records, report = reader.read(files)
    assert not report.errors and [len(record.captions) for record in records] == [per_image] * 4
    assert reader.read_vocabulary(records, files).max_length == 10
    name = path.name.replace(f"_{per_image}_cap_per_img", "")  # so the pictures' file says it
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace(f"_{per_image}_cap_per_img", ""))
    with open(next(tmp_path.glob("VAL_IMAGES*")), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert reader.read([tmp_path / name])[0] == records
    if per_image == 2:
        captions = next(tmp_path.glob("VAL_CAPTIONS*"))
        captions.write_text(json.dumps(json.loads(captions.read_text())[1:]))
        with pytest.raises(ValueError, match="1 captions of VAL, not 2 a picture"):
            reader.read([tmp_path / name])
    with h5py.File(next(tmp_path.glob("VAL_IMAGES*")), "a") as file:
        del file.attrs["captions_per_image"]
    with pytest.raises(ValueError, match=f"{name}: how many captions has a picture"):
        reader.read([tmp_path / name])
    with open(next(tmp_path.glob("TRAIN_IMAGES*")), "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        formats.unpack_pictures(tmp_path / name, "auto", tmp_path)
    assert (tmp_path / "train_000001.png").is_file()
    del numbers["dog"]
    (tmp_path / name).write_text(json.dumps(numbers))
    with pytest.raises(ValueError, match="no word has the number 2$"):
        formats.read_vocabulary(tmp_path / name, "auto")


def test_pictures_of_sgrvinod_are_written_once(tmp_path, capsys):
    path, _, written = write_sgrvinod(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (3, 2)).save(images / "train_000001.png")
    line = ["--annotations", str(path), "--images", str(images), "--out", str(tmp_path / "out")]
    assert command.run(labels.Options, labels.main, line) == 0
    assert "missing" not in capsys.readouterr().err
    with Image.open(images / "train_000001.png") as kept:
        assert kept.size == (3, 2)
    with Image.open(images / "train_000000.png") as picture:
        expected = written["TRAIN"][1][0]
        assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), expected)


def test_splits_of_sgrvinods_files_may_be_missing(tmp_path):
    write_sgrvinod(tmp_path)
    for file in list(tmp_path.iterdir()):
        base = file.name.split("_flickr8k")[0]
        file.rename(tmp_path / f"{base}_WORDMAP{file.suffix}")  # nothing but this may be replaced
    for file in tmp_path.glob("VAL_*"):
        file.unlink()
    path = tmp_path / "WORDMAP_WORDMAP.json"
    assert [r.split for r in reader.read([path])[0]] == ["train", "train", "test"]
    (tmp_path / "TEST_IMAGES_WORDMAP.hdf5").unlink()
    with pytest.raises(ValueError, match="how many captions has a picture"):
        reader.read([path])


def one_file(tmp_path, images):
    path, _, _ = write_sgrvinod(tmp_path)
    with h5py.File(next(tmp_path.glob("VAL_IMAGES*")), "a") as file:
        del file["images"]
        images(file)
    return path


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (lambda f: f.create_dataset("images", data=np.zeros((1, 3, 4, 4), np.int8)), "of bytes"),
        (lambda f: f.update({"images": h5py.SoftLink("/other")}), "no dataset 'images' of bytes"),
        (lambda f: f.create_group("images"), "no dataset 'images' of bytes"),
        (lambda f: external(f, "images", np.zeros((1, 3, 4, 4), np.uint8)), "no dataset 'images'"),
        (
            lambda f: f.create_dataset("images", (1, 3, 4, 20_001), np.uint8, chunks=True),
            "of shape",
        ),
        (
            lambda f: f.create_dataset("images", (1, 3, 20_001, 4), np.uint8, chunks=True),
            "of shape",
        ),
        (lambda f: f.create_dataset("images", (1, 3, 0, 0), np.uint8), "images of shape"),
        (lambda f: f.create_dataset("images", (1, 4, 4, 4), np.uint8), "images of shape"),
        (lambda f: f.create_dataset("images", (3, 3, 4), np.uint8), "images of shape"),
        (lambda f: f.create_dataset("images", (1, 3, 4, 4, 1), np.uint8), "images of shape"),
    ],
)
def test_pictures_of_sgrvinod_that_are_none(tmp_path, images, message):
    with pytest.raises(ValueError, match=f"VAL_IMAGES_.*: .*{message}"):
        formats.unpack_pictures(one_file(tmp_path, images), "auto", tmp_path)


@pytest.mark.parametrize("sides", [(1, 1), (1, 7), (2, 20_000)])
def test_pictures_of_any_shape(tmp_path, sides):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, *sides), np.uint8)
    path = one_file(tmp_path, lambda file: file.create_dataset("images", data=pixels))
    formats.unpack_pictures(path, "auto", tmp_path)
    with Image.open(tmp_path / "val_000000.png") as picture:
        assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), pixels[0])
