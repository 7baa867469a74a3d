"""Streams at their limits: long lines, long captions, many captions, many defects."""

import json
import tarfile

import pytest

from prepro.annotations import tar_shards, tsv
from prepro.annotations.defects import Defects
from prepro.annotations.streamed import is_streamed
from prepro.annotations.validation import Report
from tests.prepro.annotations.test_tar_shards import add, convert, picture

MIB = 1 << 20


def padded(size):
    """A row of so many bytes, the newline counted."""
    return b"x" * (size - len(b"\ta.png\n")) + b"\ta.png\n"


def test_a_row_of_a_mebibyte_is_read_and_a_longer_one_is_counted(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    lines = [
        b"first\ta.png\n", padded(MIB), padded(MIB + 1), b"a dog\ta.png\n", padded(3 * MIB + 7),
        b"\ta.png\n", b"no picture\t\n", b"last\ta.png\n", b"y" * 2 * MIB,
    ]  # fmt: skip
    (tmp_path / "c.tsv").write_bytes(b"".join(lines))
    defects = Defects()
    (found,) = tsv.read(tmp_path / "c.tsv", tmp_path, "val", defects)
    assert [len(caption) for caption in found.captions] == [5, MIB - 7, 5, 4]
    assert found.id == "c.tsv:1" and found.split == "val"
    assert defects.report().warnings == [
        "lines of more than 1,048,576 bytes, which are left out: 3 "
        "(c.tsv, line 3, c.tsv, line 5, c.tsv, line 9)",
        "lines without a caption and a picture, which are left out: 2 "
        "(c.tsv, line 6, c.tsv, line 7)",
    ]


def test_samples_of_a_shard_at_their_limits(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "long.jpg"), add(tar, "long.txt", b"dogs" * (MIB // 4))
        add(tar, "longer.jpg"), add(tar, "longer.txt", b"dogs" * (MIB // 4) + b"x")
        many = {"captions": [f"dog {i}" for i in range(1001)]}
        add(tar, "many.jpg"), add(tar, "many.json", json.dumps(many).encode())
        add(tar, "both.jpg"), add(tar, "both.png"), add(tar, "both.txt", b" a dog ")
        add(tar, "two.jpg"), add(tar, "two.txt", b"text"), add(tar, "two.json", b'{"caption":"j"}')
        add(tar, "void.jpg"), add(tar, "void.txt", b"text"), add(tar, "void.json", b"{}")
        add(tar, "none.jpg")
    defects = Defects()
    found = list(tar_shards.read(tmp_path / "0.tar", "in/0.tar", "", defects))
    assert [(r.path.removeprefix("in/0.tar/"), len(r.captions)) for r in found] == [
        ("long.jpg", 1), ("many.jpg", 1000), ("both.jpg", 1), ("two.jpg", 1), ("void.jpg", 1)
    ]  # fmt: skip
    assert [r.captions[0] for r in found][2:] == ["a dog", "j", "text"]
    assert defects.report().warnings == [
        "captions of more than 1,048,576 bytes, which are left out: 1 (in/0.tar/longer.txt)",
        "pictures without a caption, which are left out: 2 "
        "(in/0.tar/longer.jpg, in/0.tar/none.jpg)",
        "names that occur more than once in a shard, which are left out: 1 (in/0.tar/both.png)",
    ]


@pytest.mark.parametrize(
    ("count", "named"), [(5, "0, 1, 2, 3, 4"), (6, "0, 1, 2, 3, 4, ..."), (1, "0")]
)
def test_the_first_five_defects_are_named(count, named):
    report, defects = Report(), Defects()
    report.warning("odd rows", range(count))
    for entry in range(count):
        defects.add("odd rows", str(entry))
    assert report.warnings == [f"odd rows: {count} ({named})"]
    (line,) = defects.report().warnings
    assert line == f"odd rows, which are left out: {count} ({named})"


def test_streams_and_whole_files_are_not_mixed(tmp_path):
    files = [tmp_path / name for name in ("a.tar", "list.json", "b.tar")]
    for file in files:
        file.write_bytes(b"")
    for order in (files, files[1:], files[::-1]):
        with pytest.raises(ValueError, match=r"list\.json: neither \.tar nor \.tsv"):
            is_streamed(order)
    assert is_streamed(files[::2]) and not is_streamed(files[1:2])


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_too_few_pictures_to_draw_splits(tmp_path, names):
    rows = []
    for name in (*names, "last"):
        (tmp_path / f"{name}.png").write_bytes(picture(1))
        rows.append(f"a dog\t{name}.png\n")
    (tmp_path / "c.tsv").write_text("".join(rows[: len(names)]))
    with pytest.raises(ValueError, match=f"{len(names)} pictures: too few to draw splits"):
        convert(tmp_path, tmp_path / "c.tsv", tmp_path)
    (tmp_path / "train.tsv").write_text("".join(rows[: len(names)]))
    found = convert(tmp_path, tmp_path / "train.tsv", tmp_path)
    assert len(found.split("train")) == len(names)
    if len(names) == 2:
        (tmp_path / "c.tsv").write_text("".join(rows))
        found = convert(tmp_path, tmp_path / "c.tsv", tmp_path, "three")
        assert [record.split for record in found.records] == ["train", "val", "test"]


def test_splits_that_only_some_files_have(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    for name in ("train.tsv", "c.tsv", "val.tsv"):
        (tmp_path / name).write_text("a dog\ta.png\n")
    with pytest.raises(ValueError, match="1 pictures without a split; name every file"):
        convert(tmp_path, tmp_path / "{train,c}.tsv", tmp_path)
    with pytest.raises(ValueError, match="no picture in the train split"):
        convert(tmp_path, tmp_path / "val.tsv", tmp_path)
    (tmp_path / "c.tsv").write_text("")
    with pytest.raises(ValueError, match="list no picture with a caption"):
        convert(tmp_path, tmp_path / "c.tsv", tmp_path)
