"""eval.files: JSON in and out, names for a terminal, errors that name the file."""

import os
from pathlib import Path

import pytest

from eval.files import printable, read_json, require_readable, whole_file, write_json, write_text


def test_json_is_utf8_with_a_line_end(tmp_path):
    write_json(tmp_path / "new" / "folder" / "a.json", {"é": [1, None]})
    data = (tmp_path / "new" / "folder" / "a.json").read_bytes()
    assert data == '{"é": [1, null]}\n'.encode()
    write_json(tmp_path / "b.json", {"a": "\ud800"}, indent=1)  # a name that is not UTF-8
    assert (tmp_path / "b.json").read_bytes() == b'{\n "a": "\\ud800"\n}\n'
    assert read_json(tmp_path / "b.json") == {"a": "\ud800"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_not_written(tmp_path, value):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", [value])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "fetch it with `git lfs pull`"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_not_read(tmp_path, data, message):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_json_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]


def test_json_is_read_up_to_the_limit(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(" " * 1998 + "[]")
    assert read_json(path, 2000) == []
    with pytest.raises(ValueError, match="2,000 bytes, more than the 1,999 that are read"):
        read_json(path, 1999)
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(FileNotFoundError, match="no such file"):
            read_json(place)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("é dog.jpg", "é dog.jpg"),
        (Path("a\nb"), r"a\nb"),
        ("a\x1b[31m", r"a\x1b[31m"),
        ("\ud800é", r"\ud800é"),
        (5, "5"),
    ],
)
def test_names_are_shown_without_control_characters(name, shown):
    assert printable(name) == shown


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    require_readable(tmp_path / "a")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(PermissionError) as error:
        require_readable(tmp_path / "a")
    assert error.value.filename == str(tmp_path / "a")


def test_an_error_without_a_number_stays_as_it_is(tmp_path):
    with (
        pytest.raises(OSError, match="a library's own words"),
        whole_file(tmp_path / "a"),
    ):
        raise OSError("a library's own words")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a folder of Linux")
def test_no_file_is_left_open(tmp_path):
    write_text(tmp_path / "a", "")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        write_text(tmp_path / "a", "")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_text(tmp_path / "a", "all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
