"""prepro.download against a server that cuts connections, knows no ranges and lies."""

import hashlib
import io
import shutil
import typing
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval import command
from prepro import download
from prepro.downloads import archives, fetch
from prepro.downloads.archives import Archive, DataSet
from prepro.downloads.unpack import unpack
from prepro.runtime.progress_bar import ProgressBar
from tests.prepro.downloads.server import serve

FILES = {
    "pictures/a.jpg": np.random.default_rng(0).bytes(300_000),
    "pictures/b.jpg": b"b", "captions.json": b"[]", "other.txt": b"not wanted",
}  # fmt: skip
WANTED = ("pictures/", "captions.json")


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


DATA = zipped(FILES)


def archive(url: str, data: bytes = DATA, members: tuple[str, ...] = WANTED) -> Archive:
    digest = hashlib.sha256(data).hexdigest()
    return Archive(url, len(data), f"sha256:{digest}", members, 310_000)


def run(
    monkeypatch: pytest.MonkeyPatch, out: Path, *archives_: Archive, flags: tuple[str, ...] = ()
) -> int:
    monkeypatch.setitem(archives.DATA_SETS, "karpathy", DataSet(archives_, "Free.", "ls {out}"))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 50, "a server is asked for ever"

    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=sleep))
    words = ["karpathy", "--out", str(out), *flags]
    return command.run(download.Options, download.main, words)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check(out: Path) -> None:
    assert names(out) == {"pictures/a.jpg", "pictures/b.jpg", "captions.json", ".set.zip.unpacked"}
    for name in ("pictures/a.jpg", "pictures/b.jpg", "captions.json"):
        assert (out / name).read_bytes() == FILES[name]


def test_connections_that_are_cut_go_on_where_they_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve(DATA, cut_after=70_000) as (url, requests):
        assert run(monkeypatch, tmp_path, archive(url)) == 0
        check(tmp_path)
        starts = [int(text[6:-1]) for text in requests]
        assert starts == [70_000 * i for i in range(len(starts))] and len(starts) == 5
        assert run(monkeypatch, tmp_path, archive(url)) == 0, "nothing is left to do"
        assert len(requests) == 5


def test_a_server_without_ranges_begins_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".set.zip.download").write_bytes(DATA[:1000])
    with serve(DATA, ranges=False) as (url, requests):
        assert run(monkeypatch, tmp_path, archive(url)) == 0
    check(tmp_path)
    assert requests == ["bytes=1000-"]


def test_a_kept_part_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".set.zip.download").write_bytes(DATA[:200_000])
    with serve(DATA) as (url, requests):
        assert run(monkeypatch, tmp_path, archive(url)) == 0
    check(tmp_path)
    assert requests == ["bytes=200000-"]


def test_a_wrong_hash_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    wrong = bytearray(DATA)
    wrong[500] ^= 1
    with serve(bytes(wrong)) as (url, _):
        assert run(monkeypatch, tmp_path, archive(url)) == 1
    assert names(tmp_path) == set()
    assert "sha256 is" in capfd.readouterr().err


def test_another_size_is_named_and_what_is_there_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / ".set.zip.download").write_bytes(DATA[:1000])
    with serve(DATA, total=5) as (url, _):
        assert run(monkeypatch, tmp_path, archive(url)) == 1
    assert (tmp_path / ".set.zip.download").read_bytes() == DATA[:1000]
    assert "the file there is another one" in capfd.readouterr().err


def test_more_bytes_than_expected_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serve(DATA + b"x", ranges=False) as (url, _):
        assert run(monkeypatch, tmp_path, archive(url)) == 1
    assert not (tmp_path / "captions.json").exists()


def test_a_dead_server_costs_its_archive_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    with serve(DATA) as (url, _):
        dead = archive("http://127.0.0.1:9/dead.zip")
        assert run(monkeypatch, tmp_path, dead, archive(url)) == 1
    assert (tmp_path / "captions.json").exists()
    err = capfd.readouterr().err
    assert "127.0.0.1:9/dead.zip" in err and "1 of 2 archives failed" in err


def test_dry_run_downloads_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve(DATA) as (url, requests):
        assert run(monkeypatch, tmp_path / "out", archive(url), flags=("--dry-run",)) == 0
    assert requests == [] and not (tmp_path / "out").exists()


def test_no_room_is_said_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    with serve(DATA) as (url, requests):
        huge = Archive(url, 1 << 60, "md5:0", WANTED, 0)
        assert run(monkeypatch, tmp_path, huge) == 1
    assert requests == [] and "are free" in capfd.readouterr().err


def test_pictures_by_request_say_where(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    words = ["flickr30k", "--out", str(tmp_path)]
    assert command.run(download.Options, download.main, words) == 2
    assert "https://" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["pictures/../../x.jpg", "pictures/\\..\\x.jpg"])
def test_no_member_leaves_the_folder(tmp_path: Path, name: str) -> None:
    data = zipped({name: b"x", "captions.json": b"[]"})
    path = tmp_path / "set.zip"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="outside the folder"):
        unpack(archive("", data), path, tmp_path / "out", lambda count: None)
    assert names(tmp_path) == {"set.zip"}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pictures/a.jpg", bytes(50_000_000))
        file.writestr("captions.json", b"[]")
    (tmp_path / "set.zip").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="unpacked, expected"):
        unpack(archive(""), tmp_path / "set.zip", tmp_path / "out", lambda count: None)


def test_a_missing_or_damaged_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(DATA)
    with pytest.raises(ValueError, match="videos/ is missing"):
        unpack(archive("", members=("videos/",)), path, tmp_path, lambda count: None)
    broken = bytearray(DATA)
    broken[5000] ^= 1  # in a.jpg
    path.write_bytes(bytes(broken))
    with pytest.raises(ValueError, match=r"CRC"):
        unpack(archive(""), path, tmp_path, lambda count: None)
    assert not (tmp_path / "pictures" / "a.jpg").exists()


def test_the_table_names_hashes_and_members() -> None:
    known = {*archives.DATA_SETS, *archives.BY_REQUEST}
    assert set(typing.get_args(download.NAMES)) == known
    for data in archives.DATA_SETS.values():
        for one in data.archives:
            algorithm, digits = one.hash.split(":")
            assert len(digits) == 2 * hashlib.new(algorithm).digest_size
            assert one.url.startswith("http") and one.name.endswith(".zip") and one.members


def test_sizes_are_those_that_the_servers_state() -> None:
    """Content-Length of COCO's and of Karpathy's files; another number refuses every download."""
    found = {one.name: one.size for data in archives.DATA_SETS.values() for one in data.archives}
    assert found == {
        "annotations_trainval2014.zip": 252872794, "val2014.zip": 6645013297,
        "train2014.zip": 13510573713, "caption_datasets.zip": 36745453,
    }  # fmt: skip


def test_what_is_needed_is_announced_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """The disk holds what is missing of the archive, and its members beside it."""
    out = tmp_path / "a" / "b c"
    out.mkdir(parents=True)
    (out / ".set.zip.download").write_bytes(DATA[:200_000])
    counts: list[int] = []
    monkeypatch.setattr(ProgressBar, "add", lambda self, count: counts.append(count))
    totals: list[int] = []
    plain = ProgressBar.__init__
    monkeypatch.setattr(
        ProgressBar, "__init__",
        lambda self, total, name: plain(self, totals.append(total) or total, name),
    )  # fmt: skip
    with serve(DATA) as (url, _):
        one = replace(archive(url), unpacked=20_000_000)
        far = Archive("http://127.0.0.1:9/far.zip", 3_000_000_000, "md5:0", WANTED, 1_000_000_000)
        assert run(monkeypatch, out, one, far, flags=("--dry-run",)) == 0
        said = capfd.readouterr()
        assert said.out == "" and said.err.splitlines() == [
            f"{url}  {len(DATA):,} bytes", "http://127.0.0.1:9/far.zip  3,000,000,000 bytes",
            f"disk until it is unpacked: {4.02 + (len(DATA) - 200_000) / 1e9:.2f} GB. Free.",
        ]  # fmt: skip
        assert run(monkeypatch, out, one) == 0
        said = capfd.readouterr()
        assert said.out == f"{out}\n" and "set.zip: 3 files" in said.err
        assert said.err.splitlines()[-1] == f"next: ls '{out}'"
        assert totals == [len(DATA) + 20_000_000]
        assert sum(counts) == len(DATA) + sum(map(len, FILES.values())) - len(b"not wanted")
        assert run(monkeypatch, out, one) == 0
        assert f"{url}  there\ndisk until it is unpacked: 0.00 GB" in capfd.readouterr().err
        assert run(monkeypatch, out, replace(one, members=("other.txt",))) == 0
        assert (out / "other.txt").read_bytes() == FILES["other.txt"]


def test_exactly_enough_room_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serve(DATA) as (url, _):
        one = archive(url)
        for free, status in ((one.size + one.unpacked - 1, 1), (one.size + one.unpacked, 0)):
            usage = shutil._ntuple_diskusage(0, 0, free)
            monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
            assert run(monkeypatch, tmp_path / "out", one) == status
