"""fetch and unpack alone: what is counted, when a try counts as failed, and who may write."""

import fcntl
import http.client
import io
import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from prepro.downloads import fetch as module
from prepro.downloads.fetch import Damaged, arrived, fetch
from prepro.downloads.unpack import unpack
from tests.prepro.downloads.server import serve
from tests.prepro.downloads.test_download import DATA, FILES, archive

URL = "http://example.org/set.zip"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(module.time, "sleep", found.append)
    monkeypatch.setattr(module, "PAUSE", 1)
    return found


def answer(monkeypatch: pytest.MonkeyPatch, *replies: object) -> None:
    """urlopen gives these replies, one after the other: errors, or how many bytes come."""
    waiting = iter(replies)

    def urlopen(request: module.urllib.request.Request, timeout: float) -> object:
        reply = next(waiting)
        if isinstance(reply, Exception):
            raise reply
        start = int(request.headers["Range"][6:-1])
        response = io.BytesIO(DATA[start : start + int(str(reply))])
        response.status, response.headers = 206, Message()  # type: ignore[attr-defined]
        span = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        response.headers["Content-Range"] = span  # type: ignore[attr-defined]
        return response

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)


def refused(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError(URL, code, "a reason", Message(), None)


def test_the_pause_doubles_until_bytes_arrive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pauses: list[float]
) -> None:
    answer(
        monkeypatch, refused(500), http.client.IncompleteRead(b""), TimeoutError(), 100, 100,
        urllib.error.URLError("no route"), 0, len(DATA),
    )  # fmt: skip
    counts: list[int] = []
    path = fetch(archive(URL), tmp_path, counts.append)
    assert path.read_bytes() == DATA and [p.name for p in tmp_path.iterdir()] == ["set.zip"]
    assert pauses == [2, 4, 8, 0, 0, 2, 4]
    assert counts == [0, 100, 100, len(DATA) - 200]


def test_many_failures_in_a_row_end_it_and_keep_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pauses: list[float]
) -> None:
    monkeypatch.setattr(module, "TRIES", 3)
    answer(monkeypatch, refused(503), refused(503), 1000, *[urllib.error.URLError("gone")] * 3)
    said = rf"set\.zip: gone; 1,000 of {len(DATA):,} bytes are kept"
    with pytest.raises(RuntimeError, match=said):
        fetch(archive(URL), tmp_path, lambda count: None)
    assert (tmp_path / ".set.zip.download").read_bytes() == DATA[:1000]


@pytest.mark.parametrize("code", [400, 404, 499])
def test_an_answer_that_will_not_change_ends_it_at_once(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pauses: list[float]
) -> None:
    answer(monkeypatch, refused(code))
    with pytest.raises(RuntimeError, match=rf"set\.zip: {code} a reason$"):
        fetch(archive(URL), tmp_path, lambda count: None)
    assert pauses == []


@pytest.mark.parametrize("code", [302, 399, 500, 503])
def test_other_answers_are_tried_again(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pauses: list[float]
) -> None:
    answer(monkeypatch, refused(code), len(DATA))
    assert fetch(archive(URL), tmp_path, lambda count: None).read_bytes() == DATA


def test_what_is_there_is_not_fetched(tmp_path: Path) -> None:
    one, counts = archive("http://127.0.0.1:9/set.zip"), []
    assert arrived(one, tmp_path) == 0
    (tmp_path / ".set.zip.download").write_bytes(DATA[:10])
    assert arrived(one, tmp_path) == 10
    (tmp_path / ".set.zip.download").write_bytes(DATA + b"more")
    assert arrived(one, tmp_path) == len(DATA)
    (tmp_path / ".set.zip.download").write_bytes(DATA)
    fetch(one, tmp_path, counts.append)
    (tmp_path / "set.zip").write_bytes(b"")
    assert arrived(one, tmp_path) == len(DATA)
    assert fetch(one, tmp_path, counts.append).read_bytes() == b""
    assert counts == [len(DATA)] * 2


def test_a_part_that_is_too_long_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / ".set.zip.download").write_bytes(DATA + b"more")
    with serve(DATA) as (url, requests):
        assert fetch(archive(url), tmp_path, lambda count: None).read_bytes() == DATA
    assert requests == ["bytes=0-"]


def test_a_server_without_ranges_takes_the_count_back(tmp_path: Path) -> None:
    counts: list[int] = []
    (tmp_path / ".set.zip.download").write_bytes(b"x" * 1000)
    with serve(DATA, ranges=False) as (url, _):
        fetch(archive(url), tmp_path, counts.append)
    assert counts[:2] == [1000, -1000] and sum(counts) == len(DATA)


def test_bytes_beyond_the_size_are_damage(tmp_path: Path) -> None:
    with serve(DATA + b"x", ranges=False) as (url, _), pytest.raises(Damaged, match="more than"):
        fetch(archive(url), tmp_path, lambda count: None)


def test_two_processes_do_not_fetch_one_file(tmp_path: Path) -> None:
    with open(tmp_path / ".set.zip.download", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match=r"set\.zip: another process downloads this file"):
            fetch(archive(URL), tmp_path, lambda count: None)


def test_members_that_are_there_are_not_unpacked_again(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(DATA)
    out, counts = tmp_path / "a" / "out", []
    one = archive(URL)
    assert unpack(one, tmp_path / "set.zip", out, counts.append) == 3
    (out / "pictures" / "a.jpg").write_bytes(bytes(300_000))  # its size is right
    (out / "pictures" / "b.jpg").write_bytes(b"half")
    (out / "captions.json").unlink()
    assert unpack(one, tmp_path / "set.zip", out, counts.append) == 3
    assert counts == [300_000, 1, 2] * 2
    assert (out / "pictures" / "a.jpg").read_bytes() == bytes(300_000)
    assert (out / "pictures" / "b.jpg").read_bytes() == FILES["pictures/b.jpg"]
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.jpg", "b.jpg", "captions.json"]


def test_twice_the_expected_bytes_are_unpacked_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(DATA)
    one = archive(URL)
    for expected, fits in ((300_003, True), (150_002, True), (150_001, False)):
        object.__setattr__(one, "unpacked", expected)
        if fits:
            unpack(one, tmp_path / "set.zip", tmp_path / "out", lambda count: None)
        else:
            with pytest.raises(ValueError, match="300,003 bytes unpacked, expected 150,001"):
                unpack(one, tmp_path / "set.zip", tmp_path / "out", lambda count: None)
