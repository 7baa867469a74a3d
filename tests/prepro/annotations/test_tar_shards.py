"""Shards are read as the same pictures in a folder are; what is malformed costs its own picture."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from prepro import labels
from prepro.annotations.braces import expand_braces
from prepro.images import BadImage, open_rgb, upright_size
from prepro.storage.label_file import read_labels
from prepro.tar_images import INDEXES, members

WORDS = ("a red dog", "two cats, asleep", "the Dog's house", "a zebra on grass", "nothing")


def picture(number: int) -> bytes:
    data = io.BytesIO()
    pixels = np.full((6, 5 + number % 3, 3), (number * 20) % 256, np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def add(tar, name, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def write_shard(path, numbers, format=tarfile.PAX_FORMAT):
    """Pictures with one caption as .txt, or two as .json."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for i in numbers:
            add(tar, f"{i:05}.png", picture(i))
            if i % 2:
                add(tar, f"{i:05}.txt", f"{WORDS[i % 5]}\n".encode())
            else:
                both = [WORDS[i % 5], WORDS[i % 3]]
                add(tar, f"{i:05}.json", json.dumps({"captions": both}).encode())


def convert(folder, annotations, images, out="out", **more):
    options = {"min_count": 1, "max_length": 3, "annotations": (annotations,), "images": images}
    labels.main(labels.Options(out=folder / out, **options | more))
    return read_labels(folder / out)


@pytest.mark.parametrize("block", [3, 1000])
def test_labels_of_shards_equal_those_of_a_folder(tmp_path, monkeypatch, capsys, block):
    monkeypatch.setattr("prepro.storage.label_spool.BLOCK", block)
    shards, entries = tmp_path / "shards", []
    for shard, split in enumerate(("train", "val", "test")):
        numbers = range(8 * shard, 8 * shard + 8)
        write_shard(shards / f"{split}-0{shard}.tar", numbers)
        for i in numbers:
            (shards / f"{i:05}.png").write_bytes(picture(i))
            texts = [WORDS[i % 5]] if i % 2 else [WORDS[i % 5], WORDS[i % 3]]
            name = f"{i:05}.png"
            entries.append({"file_path": name, "captions": texts, "split": split})
    (tmp_path / "list.json").write_text(json.dumps(entries))
    folder = convert(tmp_path, tmp_path / "list.json", shards)
    said = capsys.readouterr().out
    found = convert(tmp_path, shards / "{train-00,val-01,test-02}.tar", shards, "streamed")
    assert capsys.readouterr().out == said.replace("out:", "streamed:", 1)
    assert found.vocabulary == folder.vocabulary and len(found.records) == 24
    for name in ("labels", "lengths", "ranges"):
        assert np.array_equal(getattr(found, name), getattr(folder, name))
    for one, other in zip(found.records, folder.records, strict=True):
        assert one.path.rpartition("/")[2] == other.path
        assert (one.split, one.captions) == (other.split, other.captions)
        a, b = (open_rgb(own.image_root / r.path) for own, r in ((found, one), (folder, other)))
        assert a.tobytes() == b.tobytes()
        assert upright_size(found.image_root / one.path) == a.size


def test_splits_are_drawn_over_all_shards(tmp_path):
    write_shard(tmp_path / "0.tar", range(40))
    found = convert(tmp_path, tmp_path / "{0..0}.tar", tmp_path)
    assert [len(found.split(name)) for name in ("train", "val", "test")] == [32, 4, 4]


def test_what_is_malformed_costs_its_own_picture(tmp_path, capsys):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for i in range(3):
            add(tar, f"./good{i}.jpg", picture(i))
            add(tar, f"./good{i}.txt", b"a dog")
        add(tar, "../out.jpg", picture(0)), add(tar, "../out.txt", b"a dog")
        add(tar, "link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "link.txt", b"a dog")
        add(tar, "alone.jpg", picture(0)), add(tar, "words.txt", b"a dog")
        add(tar, "bytes.jpg", picture(0)), add(tar, "bytes.txt", b"\xff\xfe")
        add(tar, "deep.jpg", picture(0)), add(tar, "deep.json", b"[" * 10**5)
        add(tar, "huge.jpg", picture(0)), add(tar, "huge.txt", b"a" * (1 << 20) + b"a")
        add(tar, "empty.jpg", picture(0)), add(tar, "empty.json", b'{"caption": null}')
        add(tar, "good1.jpg", picture(9)), add(tar, "good1.txt", b"another")
    found = convert(tmp_path, tmp_path / "0.tar", tmp_path)
    assert [r.path for r in found.records] == [f"0.tar/good{i}.jpg" for i in range(3)]
    assert {c for r in found.records for c in r.captions} == {"a dog"}
    lines = capsys.readouterr().err.splitlines()
    for text in (
        "members with a name that is none in a folder, which are left out: 2 (../out.jpg",
        "members that are links or sparse files, which are left out: 1 (0.tar/link.jpg)",
        "captions without a picture, which are left out: 2 (0.tar/link.txt, 0.tar/words.txt)",
        "captions that cannot be read, which are left out: 2 (0.tar/bytes.txt, 0.tar/deep.json)",
        "captions of more than 1,048,576 bytes, which are left out: 1 (0.tar/huge.txt)",
        "names that occur more than once in a shard, which are left out: 1 (0.tar/good1)",
        "pictures without a caption, which are left out: 5 (0.tar/alone.jpg, 0.tar/bytes.jpg",
    ):
        assert any(text in line for line in lines), (text, lines)
    for name in ("../out.jpg", "link.jpg", "none.jpg", "../0.tar"):
        with pytest.raises(BadImage):
            open_rgb(tmp_path / "0.tar" / name)
    assert open_rgb(tmp_path / "0.tar/good1.jpg").getpixel((0, 0)) == (20, 20, 20)  # the first


PAX = {"long record": b"999999999 path=x\n", "empty record": b"3 \n", "no length": b"path=x\n"}


@pytest.mark.parametrize("kind", ["cut", "size", *PAX, "noise", "empty", "gzip"])
def test_a_damaged_shard_is_named(tmp_path, kind, capsys):
    write_shard(tmp_path / "0.tar", range(12))
    write_shard(tmp_path / "1.tar", range(12, 24))
    whole = (tmp_path / "1.tar").read_bytes()
    if kind == "size":  # a member of 8 exabytes
        info = tarfile.TarInfo("x.jpg")
        info.size = 1 << 62
        whole = info.tobuf(tarfile.GNU_FORMAT)
    elif kind in PAX:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 512
        whole = info.tobuf() + PAX[kind].ljust(512, b"\0")
    damaged = {
        "cut": whole[: len(whole) // 3], "noise": b"\x07" * 2000, "empty": b"", "gzip": b"\x1f\x8b"
    }.get(kind, whole)  # fmt: skip
    (tmp_path / "1.tar").write_bytes(damaged)
    found = convert(tmp_path, tmp_path / "{0..1}.tar", tmp_path)
    assert 12 <= len(found.records) < 24
    error = capsys.readouterr().err
    assert "shards that are damaged" in error and "1.tar: " in error
    with pytest.raises(BadImage):
        open_rgb(tmp_path / "1.tar" / "00023.png")
    for record in found.records:
        open_rgb(tmp_path / record.path)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_headers_are_tarfiles(tmp_path, format):
    long = "é" * 40 + "/" + "n" * 90 + ".jpg"
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
        for name in ("short.png", long, "folder/b.c.txt"):
            add(tar, name, name.encode())
        add(tar, "d", type=tarfile.DIRTYPE)
    with open(tmp_path / "a.tar", "rb") as file:
        found = [(m.name, m.is_file, m.offset, m.size) for m in members(file)]
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert found == [(m.name, m.isreg(), m.offset_data, m.size) for m in tar]


def test_more_shards_than_indexes(tmp_path, monkeypatch):
    assert INDEXES > 1
    for i in range(40):
        write_shard(tmp_path / f"{i}.tar", [i])
        assert open_rgb(tmp_path / f"{i}.tar/{i:05}.png").size == (5 + i % 3, 6)
    write_shard(tmp_path / "0.tar", [77])  # a shard that is replaced is read anew
    assert open_rgb(tmp_path / "0.tar/00077.png").size == (5 + 77 % 3, 6)


def test_braces():
    assert list(expand_braces("s/{008..011}.tar")) == [f"s/{i:03}.tar" for i in range(8, 12)]
    assert list(expand_braces("{a,b}{2..1}")) == ["a2", "a1", "b2", "b1"]
    assert list(expand_braces("a{}b{x}")) == ["a{}b{x}"]
    with pytest.raises(ValueError, match="1,000,001 names, more than 1,000,000"):
        list(expand_braces("{0..1000000}.tar"))


def test_wrong_input_is_one_line(tmp_path):
    write_shard(tmp_path / "0.tar", range(4))
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"0\.tar: not in the picture folder .*other"):
        convert(tmp_path, tmp_path / "0.tar", tmp_path / "other")
    with pytest.raises(FileNotFoundError, match=r"1\.tar: no such file"):
        convert(tmp_path, tmp_path / "{0..1}.tar", tmp_path)
    with pytest.raises(ValueError, match="--split: not for"):
        convert(tmp_path, tmp_path / "0.tar", tmp_path, split=(tmp_path / "train.txt",))
