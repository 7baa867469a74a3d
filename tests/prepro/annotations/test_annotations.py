"""Every annotation format, small and by hand, and every defect that is an error."""

import json

import h5py
import numpy as np
import pytest
from pycocotools.coco import COCO

from prepro.annotations import reader
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report, warn_missing_images

DOG, CAT, COW = ("A dog.", "dogs run"), ("A cat, asleep",), ("Two cows",)


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def coco(images, captions):
    """COCO's two lists from [(id, file, split)] and [(image id, caption)]."""
    return {
        "images": [{"id": i, "file_name": f} | ({"split": s} if s else {}) for i, f, s in images],
        "annotations": [
            {"id": k, "image_id": i, "caption": c} for k, (i, c) in enumerate(captions)
        ],
    }


def test_coco_files_whose_names_give_the_split(tmp_path):
    train = coco([(7, "7.jpg", ""), (3, "3.jpg", "")], [(3, "A cat, asleep"), (7, "A dog.")])
    train["annotations"].append({"id": 9, "image_id": 7, "caption": "dogs run"})
    files = [
        write(tmp_path / "captions_train2017.json", train),
        write(tmp_path / "captions_val2017.json", coco([(5, "5.jpg", "")], [(5, "Two cows")])),
    ]
    records, report = reader.read(files)
    assert records == [
        ImageRecord(7, "7.jpg", "train", DOG),
        ImageRecord(3, "3.jpg", "train", CAT),
        ImageRecord(5, "5.jpg", "val", COW),
    ]
    assert str(report) == ""


def test_karpathy(tmp_path):
    def image(split, captions, **more):
        return {"split": split, "sentences": [{"raw": c, "tokens": []} for c in captions]} | more

    images = [
        image("restval", DOG, filename="a.jpg", filepath="val2014", cocoid=42, imgid=0),
        image("test", CAT, filename="b.jpg", imgid=1),
    ]
    path = write(tmp_path / "dataset_coco.json", {"images": images, "dataset": "coco"})
    assert reader.read([path])[0] == [
        ImageRecord(42, "val2014/a.jpg", "train", DOG),
        ImageRecord(1, "b.jpg", "test", CAT),
    ]


def test_flickr_tokens_and_their_lists(tmp_path):
    lines = "a.jpg#0\tA dog.\na.jpg#1\tdogs run\nb.jpg#0\tA cat, asleep\nc.jpg#0\tTwo cows\n"
    tokens = write(tmp_path / "Flickr8k.token.txt", "\ufeff" + lines)
    lists = [
        write(tmp_path / "Flickr_8k.trainImages.txt", "a.jpg\n"),
        write(tmp_path / "Flickr_8k.devImages.txt", "c.jpg\n"),
    ]
    assert reader.read([tokens], "flickr", lists)[0] == [
        ImageRecord("a", "a.jpg", "train", DOG),
        ImageRecord("c", "c.jpg", "val", COW),
    ]
    table = write(tmp_path / "splits.json", {"train": ["a"], "test": ["b.jpg"]})
    records = reader.read([tokens], splits=[table])[0]
    assert [(r.path, r.split) for r in records] == [("a.jpg", "train"), ("b.jpg", "test")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "captions.csv",
            "image,caption,split\na.jpg,A dog.,train\na.jpg,dogs run,train\n"
            'b.jpg,"A cat, asleep",val',
        ),
        (
            "captions.txt",  # Flickr30k's
            "image_name| caption| split\na.jpg| A dog.| train\na.jpg| dogs run| train\n"
            "b.jpg| A cat, asleep| val\n",
        ),
        (
            "captions.jsonl",
            '{"file_name": "a.jpg", "captions": ["A dog.", "dogs run"], "split": "train"}\n\n'
            '{"file_name": "b.jpg", "caption": "A cat, asleep", "split": "val"}\n',
        ),
    ],
)
def test_tables_beside_a_folder_of_pictures(tmp_path, name, text):
    path = write(tmp_path / name, "\ufeff" + text)
    assert reader.read([path], "folder")[0] == [
        ImageRecord("a.jpg", "a.jpg", "train", DOG),
        ImageRecord("b.jpg", "b.jpg", "val", CAT),
    ]


def test_neuraltalks_raw_list_draws_splits_by_id_alone(tmp_path):
    raw = [{"file_path": f"{i}.jpg", "captions": ["a"], "id": i} for i in range(40)]
    records, report = reader.read([write(tmp_path / "raw.json", raw)])
    split_of = {r.id: r.split for r in records}
    assert sorted(split_of.values()) == ["test"] * 4 + ["train"] * 32 + ["val"] * 4
    assert "80 % train" in report.warnings[0] and not report.errors
    again = reader.read([write(tmp_path / "raw.json", raw[::-1])])[0]
    assert {r.id: r.split for r in again} == split_of
    three, report = reader.read([write(tmp_path / "raw.json", raw[:3])])
    assert sorted(r.split for r in three) == ["test", "train", "val"] and not report.errors


def test_cocotalk_words_come_back_from_their_numbers(tmp_path):
    value = {
        "ix_to_word": {"1": "a", "2": "dog", "3": "cat"},
        "images": [
            {"id": 1, "file_path": "a.jpg", "split": "train"},
            {"id": 2, "file_path": "b.jpg", "split": "val"},
        ],
    }
    path = write(tmp_path / "cocotalk.json", value)
    with pytest.raises(FileNotFoundError, match=r"cocotalk_label\.h5"):
        reader.read([path])
    with h5py.File(tmp_path / "cocotalk_label.h5", "w") as file:
        file["labels"] = np.array([[1, 2, 0], [2, 0, 0], [1, 3, 0]])
        file["label_start_ix"], file["label_end_ix"] = np.array([1, 3]), np.array([2, 3])
    assert reader.read([path], "cocotalk")[0] == [
        ImageRecord(1, "a.jpg", "train", ("a dog", "dog")),
        ImageRecord(2, "b.jpg", "val", ("a cat",)),
    ]


GOOD = [(1, "1.jpg", "train"), (2, "2.jpg", "val")]
CAPTIONS = [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("images", "captions", "error"),
    [
        ([*GOOD, (1, "3.jpg", "val")], CAPTIONS, "ids that occur more than once: 1 (1)"),
        ([*GOOD, (3, "2.jpg", "val")], CAPTIONS, "paths that occur more than once: 1 (2.jpg)"),
        (
            GOOD,
            [*CAPTIONS, (9, "c"), (8, "d")],
            "images that are not listed: 2 (image 9, image 8)",
        ),
        ([*GOOD, (3, "3.jpg", "val")], CAPTIONS, "outside the test split without a caption: 1 (3)"),
        (GOOD, [(1, "a"), (2, "  ")], "outside the test split without a caption: 1 (2)"),
        ([(1, "1.jpg", "val")], [(1, "a")], "no picture in the train split"),
        ([(1, "1.jpg", "training"), *GOOD], CAPTIONS, "other than train, val, test: 1 (training)"),
        ([], [], "the annotations list no picture"),
        ([GOOD[0], (2, "2.jpg", "")], CAPTIONS, "pictures without a split: 1 (2.jpg)"),
        (GOOD, [*CAPTIONS, (2, None)], "pictures with a caption that is no text: 1 (2)"),
        ([*GOOD, (None, "3.jpg", "test")], CAPTIONS, "neither a number nor a text: 1 (None)"),
        (
            [(1, "1.jpg", ""), (2, "2.jpg", "")],
            CAPTIONS,
            "too few to draw splits; give --split",
        ),
        *[
            ([GOOD[0], (2, name, "val")], CAPTIONS, f"outside the picture folder: 1 ({name!r})")
            for name in ("../2.jpg", "/etc/passwd", "a/../../b", "a\\b", "a\0b", "", "C:/x", "..")
        ],
    ],
)
def test_defects_are_errors_that_name_the_entry(tmp_path, images, captions, error):
    path = write(tmp_path / "list.json", coco(images, captions))
    errors = reader.read([path])[1].errors
    assert any(line.endswith(error) for line in errors), errors


def test_report_has_the_count_and_first_five_of_each_defect(tmp_path):
    images = [(1, "a", "x"), (1, "../a", "y"), *((i, f"{i}", "train") for i in range(10, 17))]
    path = write(tmp_path / "l.json", coco(images, [(1, "c"), (5, "d"), (10, " ")]))
    assert str(reader.read([path])[1]).splitlines() == [
        "  error    captions of images that are not listed: 1 (image 5)",
        "  error    ids that occur more than once: 1 (1)",
        "  error    paths outside the picture folder: 1 ('../a')",
        "  error    splits other than train, val, test: 2 (x, y)",
        "  error    pictures outside the test split without a caption: 7 (10, 11, 12, 13, 14, ...)",
        "  warning  pictures with empty captions, which are left out: 1 (10)",
    ]


def test_empty_captions_are_left_out_with_a_warning(tmp_path):
    path = write(tmp_path / "list.json", coco([*GOOD, (3, "3", "test")], [*CAPTIONS, (1, " ")]))
    records, report = reader.read([path])
    assert [r.captions for r in records] == [("a",), ("b",), ()]  # the test split may lack captions
    assert report.warnings == ["pictures with empty captions, which are left out: 1 (1)"]
    assert report.errors == []


@pytest.mark.parametrize(
    ("existing", "warning"),
    [
        (("1.jpg", "in/2.jpg"), []),
        (("1.jpg",), ["pictures missing in {}: 1 (in/2.jpg)"]),
        ((), ["none of the 2 pictures is in {} (--images): no 1.jpg"]),
    ],
)
def test_missing_image_files_are_a_warning(tmp_path, existing, warning):
    (tmp_path / "in").mkdir()
    for name in existing:
        (tmp_path / name).write_bytes(b"")
    report = Report()
    warn_missing_images(
        [ImageRecord(1, "1.jpg", "train", DOG), ImageRecord(2, "in/2.jpg", "val", CAT)],
        tmp_path,
        report,
    )
    assert report.warnings == [line.format(tmp_path) for line in warning]


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", LFS, "Git LFS pointer"),
        ("a.csv", LFS, "Git LFS pointer"),
        ("a.json", '{"images": [NaN]}', "NaN is not a JSON number"),
        ("a.json", '{"images": ', "not valid JSON"),
        ("a.json", '{"pictures": []}', r"no annotation format .*its keys are 'pictures'"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', "coco entry lacks .*file_name"),
        ("a.json", "3", "no annotation format"),
        ("a.csv", "name;text\n1;2", "columns image and caption"),
        ("a.jsonl", '{"image": "a.jpg"\n', "line 1: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("a.jsonl", '{"image": "a.jpg", "caption": 3}', "line 1: a caption that is no text"),
        ("a.json", '{"images": [null]}', "no annotation format"),
        ("a.txt", "a.jpg#0\tA dog\nb.jpg A cat\n", r"line 2: expected name\.jpg#0"),
    ],
)
def test_files_of_no_format_are_errors(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        reader.read([write(tmp_path / name, text)])


def test_format_that_does_not_match_is_an_error(tmp_path):
    path = write(tmp_path / "list.json", coco(GOOD, CAPTIONS))
    with pytest.raises(ValueError, match="asked for the format karpathy, but this is coco"):
        reader.read([path], "karpathy")
    with pytest.raises(FileNotFoundError, match="no such annotation file"):
        reader.read([tmp_path / "none.json"])


def test_real_coco_captions_as_pycocotools_reads_them(shared):
    path = shared / "data/coco/captions_val2017_2500.json"
    records, report = reader.read([path])
    theirs = COCO(path)
    assert [record.id for record in records] == theirs.getImgIds()
    for record in records:
        assert record.path == theirs.imgs[record.id]["file_name"] and record.split == "val"
        assert list(record.captions) == [a["caption"] for a in theirs.imgToAnns[record.id]]
    assert report.errors == ["no picture in the train split"] and not report.warnings


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.csv", "image,caption\na.jpg,café\n".encode("latin-1"), "latin.csv: not UTF-8 text"),
        ("list.json", b"[1, 2]", "list.json: a raw entry has a value of the wrong type"),
        ("folder", None, "folder: a folder; name the file"),
        (
            "deep.jsonl",
            b'{"image": "a.jpg", "caption": "x"}\n' + b"[" * 100_000,
            "deep.jsonl, line 2: not JSON",
        ),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(ValueError, match=message):
        reader.read([path])


def test_pictures_that_no_list_names_are_counted(tmp_path):
    captions, train = tmp_path / "captions.csv", tmp_path / "train.txt"
    captions.write_text("image,caption\na.jpg,one\nb.jpg,two\n")
    train.write_text("a.jpg\n")
    records, report = reader.read([captions], splits=[train])
    assert [record.path for record in records] == ["a.jpg"]
    assert "no list of a split names" in str(report) and "b.jpg" in str(report)
    with pytest.raises(FileNotFoundError, match="gone"):
        reader.read([captions], splits=[tmp_path / "gone_train.txt"])
    train.write_text("c.jpg\n")
    with pytest.raises(ValueError, match=r"train\.txt: names none of the 2 pictures"):
        reader.read([captions], splits=[train])
