"""Tar headers byte by byte, what is cut off or damaged, and the index that is kept."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from prepro import tar_images
from prepro.images import BadImage, open_rgb, read_file
from prepro.remote import RemotePath
from prepro.tar_images import BadTar, indexed, members, read_member
from tests.prepro.annotations.test_tar_shards import add, picture, write_shard
from tests.prepro.test_remote import Bucket, bucket  # noqa: F401 a fixture

END = bytes(1024)


def header(name="x.jpg", size=0, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data):
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


def pax(*records, tail=b""):
    """A pax header; a record is (key, value), its length that of "LENGTH KEY=VALUE\\n"."""
    text = b""
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(9999) if n == len(str(n)) + len(rest))
        text += str(length).encode() + rest
    return raw_pax(text + tail)


def raw_pax(text):
    return header("pax", len(text), tarfile.XHDTYPE) + padded(text)


def found(data):
    return [(m.name, m.is_file, m.offset, m.size) for m in members(io.BytesIO(data))]


def test_the_size_of_a_pax_header_counts_for_files_alone():
    """A ustar header holds sizes below 8 GiB; a folder has no bytes, whatever is said of it."""
    data = pax(("size", 700)) + header() + padded(b"a" * 700)
    data += pax(("size", 700)) + header("folder", 0, tarfile.DIRTYPE) + header("y.jpg", 3)
    expected = [("x.jpg", True, 1536, 700), ("folder", False, 4096, 0), ("y.jpg", True, 4608, 3)]
    assert found(data + padded(b"abc") + END) == expected


def test_a_pax_header_serves_the_next_member_alone():
    data = pax(("path", "long.jpg"), ("GNU.sparse.major", 1), tail=b"\0") + header() + header()
    assert found(data + END) == [("long.jpg", False, 1536, 0), ("x.jpg", True, 2048, 0)]


@pytest.mark.parametrize("size", ["x", "-1", "²", "9" * 19, ""])
def test_a_size_that_is_no_number_of_64_bits(size):
    with pytest.raises(BadTar, match=rf"^damaged at byte 1,024 \(a size of '{size}'\)$"):
        found(pax(("size", size)) + header() + END)


def test_a_size_beyond_the_file():
    with pytest.raises(BadTar, match="^cut off, or damaged, at byte 1,024$"):
        found(pax(("size", "9" * 18)) + header() + END)


def test_a_negative_size():
    """Base 256: numbers that do not fit into octal digits, negative ones included."""
    block = bytearray(header())
    block[124:136] = b"\xff" * 12
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    with pytest.raises(BadTar, match="^cut off, or damaged, at byte 512$"):
        found(header() + bytes(block) + END)


@pytest.mark.parametrize("text", [b"3 \n", b"x path=a\n", b" path=a\n", b"11 path=a\n", b"0 "])
def test_pax_records_of_a_wrong_length(text):
    with pytest.raises(BadTar, match=r"^damaged at byte 512 \(a pax header\)$"):
        found(raw_pax(text) + header() + END)


def test_the_shortest_pax_record():
    assert found(raw_pax(b"4 =\n9 path=a\n") + header() + END) == [("a", True, 1536, 0)]


def test_the_longest_header(monkeypatch):
    name = "n" * 599
    data = header() + header("././@LongLink", 600, tarfile.GNUTYPE_LONGNAME)
    data += padded(name.encode() + b"\0") + header() + END
    monkeypatch.setattr(tar_images, "MAX_HEADER", 600)
    assert [name for name, *_ in found(data)] == ["x.jpg", name]
    monkeypatch.setattr(tar_images, "MAX_HEADER", 599)
    with pytest.raises(BadTar, match="^a header of 600 bytes at byte 512$"):
        found(data)


@pytest.mark.parametrize(
    ("data", "count", "reason"),
    [
        (header(size=512) + b"a" * 512, 1, "^cut off, without the mark that ends a tar file$"),
        (header(size=512) + b"a" * 511, 0, "^cut off, or damaged, at byte 0$"),
        (header() + header(size=513) + END[:512], 1, "^cut off, or damaged, at byte 512$"),
        (header() + bytes(100), 1, r"^damaged at byte 512 \("),
        (header() * 2 + b"\7" * 512, 2, r"^damaged at byte 1,024 \("),
        (b"\7" * 512, 0, "^not an uncompressed tar file"),
    ],
)
def test_members_before_the_cut_are_found(data, count, reason):
    names = []
    with pytest.raises(BadTar, match=reason):
        for member in members(io.BytesIO(data)):
            names.append(member.name)
    assert len(names) == count


def test_what_follows_the_mark_is_not_read():
    assert len(found(header() + END + b"\7" * 512)) == 1


def test_a_member_as_large_as_the_limit(tmp_path):
    write_shard(tmp_path / "0.TAR", [3])
    size = len(picture(3))
    assert read_member(tmp_path / "0.TAR" / "00003.png", size) == picture(3)
    with pytest.raises(BadTar, match=f"^{size} bytes, more than {size - 1}$"):
        read_member(tmp_path / "0.TAR" / "00003.png", size - 1)


def test_below_another_file_there_is_nothing(tmp_path):
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(BadImage, match="^no such file$"):
        open_rgb(tmp_path / "words.txt" / "x.jpg")


@pytest.mark.parametrize("folder", ["xdg", "home"])
def test_the_index_is_kept_in_the_users_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if folder == "xdg":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    path = tar_images._cache(RemotePath("s3:", "b/0.tar"), (1, "a"))
    cache = tmp_path / "xdg" if folder == "xdg" else tmp_path / "home" / ".cache"
    assert path.parent == cache / "resnet-caption" / "tar"
    assert path != tar_images._cache(RemotePath("s3:", "b/0.tar"), (2, "a"))


@pytest.fixture
def remote(bucket, tmp_path):  # noqa: F811
    """A tar file in a bucket, with a link and a folder, cut after its last picture."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "1.png", picture(1))
        add(tar, "link.png", type=tarfile.SYMTYPE, linkname="1.png")
        add(tar, "2.png", picture(2))
        end = tar.offset
    bucket.objects["b/0.tar"] = (tmp_path / "0.tar").read_bytes()[:end]
    return RemotePath("s3:", "b/0.tar")


def kept(tar: RemotePath) -> Path:
    return tar_images._cache(tar, tar_images.version(tar))


def test_of_a_tar_file_that_is_cut_off_the_index_is_kept_too(remote):
    with pytest.raises(BadTar):
        list(indexed(remote, members(io.BytesIO(Bucket.objects["b/0.tar"]))))
    assert np.load(kept(remote)).shape == (2, 3)
    assert read_file(remote / "2.png") == picture(2)
    assert [end - start for _, start, end in Bucket.reads] == [len(picture(2))]
    with pytest.raises(BadImage, match="^no such file$"):
        read_file(remote / "link.png")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    "damage",
    [np.zeros((2, 3)), np.zeros(3, np.int64), np.zeros((2, 4), np.int64),
     np.zeros((3, 3, 3), np.int64), np.array([Payload()], object)],
)  # fmt: skip
def test_a_kept_index_of_another_kind_is_made_anew(remote, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept(remote).parent.mkdir(parents=True)
    np.save(kept(remote), damage, allow_pickle=True)
    assert read_file(remote / "2.png") == picture(2)
    assert not (tmp_path / "unpickled").exists()
