"""Object storage: a bucket in memory whose file system notes every range that is read."""

import io
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.spec import AbstractBufferedFile

from caption.inference.image_source import _stamp
from eval import command
from prepro import features, labels, tar_images
from prepro.extraction.image_loader import ImageFolderReader
from prepro.images import BadImage, inside, open_rgb, read_file, to_rgb
from prepro.remote import RemotePath, typed
from prepro.storage.feature_file import FeatureFile
from prepro.storage.label_file import read_labels
from tests.prepro.annotations.test_tar_shards import picture, write_shard

REGISTRY = sys.modules["fsspec.registry"]._registry  # what register_implementation changes


class Bucket(fsspec.AbstractFileSystem):
    """Objects are bytes; reads are (name, start, end)."""

    protocol = "s3"
    objects: dict[str, bytes] = {}  # noqa: RUF012 of all instances
    reads: list[tuple[str, int, int]] = []  # noqa: RUF012

    def info(self, path: str, **_: object) -> dict:
        path = self._strip_protocol(path)
        if path.startswith("refused"):
            raise ConnectionRefusedError(111, "Connection refused")
        if path not in self.objects:
            raise FileNotFoundError(path)
        data = self.objects[path]
        return {"name": path, "size": len(data), "type": "file", "ETag": hash(data)}

    def _open(self, path: str, mode: str = "rb", block_size: int = 0, **options: object):
        return Object(self, path, mode, block_size, cache_type=options["cache_type"])

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object):
        path = self._strip_protocol(path)
        size = self.info(path)["size"]
        self.reads.append((path, start or 0, min(end or size, size)))
        return self.objects[path][start:end]


class Object(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        self.fs.reads.append((self.path, start, end))
        return self.fs.objects[self.path][start:end]


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    monkeypatch.setitem(REGISTRY, "s3", Bucket)
    monkeypatch.setattr(Bucket, "objects", {})
    monkeypatch.setattr(Bucket, "reads", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tar_images._index.cache_clear()
    return Bucket


def upload(bucket, folder: Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.objects[f"{prefix}/{path.relative_to(folder)}"] = path.read_bytes()


def convert(out: Path, annotations: str, images: str):
    """As the command line does: Path makes s3:/bucket of s3://bucket."""
    words = [
        "--annotations",
        annotations,
        "--images",
        images,
        "--out",
        str(out),
        "--min-count",
        "1",
    ]
    assert command.run(labels.Options, labels.main, words, ("annotations", "images")) == 0
    return read_labels(out)


def encode(data: Path) -> int:
    return features.main(
        features.Options(data=data, encoder="resnet8-w4", weights="none", crop=16, resize=16,
                         workers=0, device="cpu")
    )  # fmt: skip


@pytest.fixture
def shards(bucket, tmp_path):
    """Two tar files in the bucket, and beside them on the disk."""
    for i, split in enumerate(("train", "val", "test")):
        write_shard(tmp_path / "shards" / f"{split}-{i}.tar", range(8 * i, 8 * i + 8))
    upload(bucket, tmp_path / "shards", "bucket/shards")
    return tmp_path / "shards"


NAMES = "{train-0,val-1,test-2}.tar"


def test_shards_give_the_labels_and_features_of_local_ones(bucket, shards, tmp_path):
    here = convert(tmp_path / "here", f"{shards}/{NAMES}", f"{shards}")
    there = convert(tmp_path / "there", f"s3://bucket/shards/{NAMES}", "s3://bucket/shards")
    assert there.records[:] == here.records[:] and len(there.records) == 24
    assert np.array_equal(there.labels, here.labels)
    assert str(there.image_root) == "s3://bucket/shards"
    assert encode(tmp_path / "here") == encode(tmp_path / "there") == 0
    ours, theirs = (FeatureFile(tmp_path / name / "features.h5") for name in ("here", "there"))
    rows = np.arange(24)
    assert np.array_equal(ours.fc(rows), theirs.fc(rows)) and ours.fc(rows).any()
    assert _stamp(inside(there.image_root, there.records[0].path)) is None


def test_only_the_bytes_of_a_picture_are_read(bucket, shards, tmp_path):
    """The labels have read every tar file once; the index that they kept is enough."""
    found = convert(tmp_path / "out", f"s3://bucket/shards/{NAMES}", "s3://bucket/shards")
    sizes = {name: len(data) for name, data in bucket.objects.items()}
    assert {name for name, *_ in bucket.reads} == sizes.keys()
    assert all(sum(b - a for n, a, b in bucket.reads if n == own) <= sizes[own] for own in sizes)
    bucket.reads.clear()
    for record in found.records:
        assert read_file(inside(found.image_root, record.path)) == picture(int(record.path[-9:-4]))
    assert [b - a for _, a, b in bucket.reads] == [len(picture(i)) for i in range(24)]


def test_without_the_index_a_tar_file_is_read_once(bucket, shards):
    path = RemotePath("s3:", "bucket/shards/val-1.tar/00009.png")
    size = len(bucket.objects["bucket/shards/val-1.tar"])
    for _ in range(3):
        assert read_file(path) == picture(9)
    assert sum(b - a for _, a, b in bucket.reads) <= size + 3 * len(picture(9))
    (kept,) = (tar_images._cache(path.parent, tar_images.version(path.parent)),)
    kept.write_bytes(b"damaged")
    tar_images._index.cache_clear()
    assert read_file(path) == picture(9)


def test_the_index_is_kept_where_the_system_keeps_such_files(bucket, shards, monkeypatch, tmp_path):
    """XDG's base directories: $XDG_CACHE_HOME, or ~/.cache where it is not set or empty."""
    path = RemotePath("s3:", "bucket/shards/val-1.tar/00009.png")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert read_file(path) == picture(9)
    folder = tmp_path / "home/.cache/resnet-caption/tar"
    assert [file.suffix for file in folder.iterdir()] == [".npy"]


def test_pictures_and_annotations_by_name(bucket, tmp_path, capsys):
    """A table is copied, read and removed; a missing picture counts as bad, as a local one does."""
    rows = "".join(f"{i}.png,a dog of {i},{s}\n" for i, s in enumerate(["train"] * 3 + ["val"]))
    bucket.objects["b/captions.csv"] = f"image,caption,split\n{rows}".encode()
    for i in range(3):
        bucket.objects[f"b/pictures/{i}.png"] = picture(i)
    found = convert(tmp_path / "out", "s3://b/captions.csv", "s3://b/pictures")
    assert found.records[0].captions == ("a dog of 0",)
    assert encode(tmp_path / "out") == 1
    assert FeatureFile(tmp_path / "out" / "features.h5").bad == {3: "no such object, or no answer"}
    assert "3.png: no such object" in capsys.readouterr().err
    image = inside(found.image_root, found.records[2].path)
    assert open_rgb(image).tobytes() == to_rgb(image).tobytes() == open_rgb(picture(2)).tobytes()
    assert encode(tmp_path / "out") == 1  # the stamps of the others are not asked for


def test_a_tsv_is_a_stream(bucket, tmp_path):
    bucket.objects["b/train.tsv"] = b"a dog\tone.png\na cat\ttwo.png\nx\t../three.png\n"
    found = convert(tmp_path / "out", "s3://b/train.tsv", "s3://b/pictures")
    assert [record.path for record in found.records] == ["one.png", "two.png"]


@pytest.mark.parametrize(
    ("annotations", "images", "said"),
    [
        ("s3://b/none.tar", "s3://b", "s3://b/none.tar: no such object"),
        ("s3://b/none.json", "s3://b", "s3://b/none.json: no such object"),
        ("s3://refused/a.tar", "s3://refused", "s3://refused/a.tar: cannot be read ([Errno 111]"),
        ("s3://b/a.tar", "s3://other", "s3://b/a.tar: not in the picture folder s3://other"),
        ("gs://b/a.tar", "gs://b", "gs://b/a.tar: "),  # its package is not installed
        ("ftp://b/a.tar", "ftp://b", "ftp://b: not read from there; known are s3, gs"),
        ("zip://x::s3://b/a.zip", "s3://b", "not read from there"),
        ("s3://b/a.tar::x", "s3://b", "not the plain address"),
        ("s3://b/../a.tar", "s3://b", "not the plain address"),
        ("s3://b/a.tar", "memory://b", "memory://b: not read from there"),
    ],
)
def test_wrong_addresses_are_one_line(bucket, tmp_path, capsys, annotations, images, said):
    words = ["--annotations", annotations, "--images", images, "--out", str(tmp_path / "out")]
    assert command.run(labels.Options, labels.main, words, ("annotations", "images")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line and "Traceback" not in line
    assert not (tmp_path / "out" / "labels.json").exists()


def test_outputs_and_data_folders_are_local(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--annotations", "x.json", "--images", ".", "--out", "s3://b/out"]
    assert command.run(labels.Options, labels.main, words, ("annotations", "images")) == 2
    assert "--out: s3://b/out is not on this machine" in capsys.readouterr().err
    assert command.run(features.Options, features.main, ["--data", "s3://b/data"]) == 2
    assert "--data: s3://b/data is not on this machine" in capsys.readouterr().err
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize("root", [".", "", "/tmp", "s3://b/pictures"])
@pytest.mark.parametrize("name", ["s3://c/secret.png", "http://c/secret.png", "s3:/c/secret.png"])
def test_a_name_in_a_file_is_no_address(bucket, root, name):
    """Below a local folder it is a local name, below an address it stays below that."""
    bucket.objects["c/secret.png"] = picture(1)
    path = inside(typed(root), name)
    assert isinstance(path, RemotePath) == root.startswith("s3")
    with pytest.raises(BadImage, match="no such file|no such object"):
        read_file(path)
    assert not [read for read in bucket.reads if read[0].startswith("c/")]


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png", "", "a\\b", "a\0b"])
def test_names_do_not_leave_their_folder(name):
    with pytest.raises(ValueError):
        inside(typed("s3://b/pictures"), name)


def test_a_missing_package_is_said_before_any_picture_is_read(monkeypatch):
    monkeypatch.delitem(REGISTRY, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match=r"s3://b: .*s3fs"):
        ImageFolderReader(typed("s3://b"), ["x.png"], None)


def test_local_paths_import_no_fsspec(tmp_path):
    """`fsspec` is an extra: a run on local files does without it."""
    write_shard(tmp_path / "0.tar", range(40))
    program = """
import sys
sys.modules["fsspec"] = None  # importing it fails
from pathlib import Path
from prepro import labels
from prepro.images import open_rgb
folder = Path(sys.argv[1])
labels.main(labels.Options((folder / "0.tar",), folder, folder / "out", min_count=1))
open_rgb(folder / "0.tar" / "00003.png")
try:
    labels.main(labels.Options((Path("s3://b/0.tar"),), Path("s3://b"), folder / "out"))
except ValueError as error:
    print(error)
"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "s3://b/0.tar: import of fsspec halted" in done.stdout and "README" in done.stdout


def test_addresses_are_paths():
    path = typed(Path("s3://bucket/a/b.tar"))
    assert str(path) == "s3://bucket/a/b.tar" == str(path.parent / "b.tar")
    assert (
        typed(str(path)) == path and path.relative_to(typed("s3://bucket")).as_posix() == "a/b.tar"
    )
    assert typed("file:///tmp/x") == Path("/tmp/x") and type(typed("a/b")) is type(Path())


def test_large_objects_are_refused(bucket, monkeypatch):
    monkeypatch.setattr("prepro.images.MAX_BYTES", 100)
    bucket.objects["b/big.png"] = io.BytesIO(b"x" * 10_000).getvalue()
    with pytest.raises(BadImage, match="more than 100 bytes"):
        read_file(typed("s3://b/big.png"))
    assert bucket.reads == [("b/big.png", 0, 101)]
    bucket.objects["b/largest.png"] = bytes(100)
    assert read_file(typed("s3://b/largest.png")) == bytes(100)
