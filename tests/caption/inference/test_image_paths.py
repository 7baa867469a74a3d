"""The pictures that a command line names."""

import io

import pytest

from caption.inference.image_paths import image_paths, images_in_folder


def test_files_folders_and_patterns(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt"):
        (tmp_path / name).touch()
    found = list(image_paths([str(tmp_path), str(tmp_path / "*.jpg"), "missing.jpg"]))
    assert found == [*(str(tmp_path / n) for n in ("a.PNG", "b.jpg", "b.jpg")), "missing.jpg"]


def test_a_folder_without_pictures_costs_only_itself(tmp_path):
    empty = tmp_path / "folder.jpg"
    empty.mkdir()
    assert list(image_paths([str(empty), "x.jpg"])) == [str(empty), "x.jpg"]
    with pytest.raises(FileNotFoundError, match="contains no pictures"):
        list(image_paths([str(empty)]))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    for name in ("photo[1].jpg", "photo1.jpg"):
        (tmp_path / name).touch()
    name = str(tmp_path / "photo[1].jpg")
    assert list(image_paths([name])) == [name]
    other = str(tmp_path / "photo[12].jpg")  # no such file: a pattern
    assert list(image_paths([other])) == [str(tmp_path / "photo1.jpg")]


def test_two_stars_look_into_folders(tmp_path):
    for name in ("c/b.jpg", "c/d/a.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list(image_paths([str(tmp_path / "**" / "*.jpg")]))
    assert found == [str(tmp_path / name) for name in ("c/b.jpg", "c/d/a.jpg", "z.jpg")]
    nothing = str(tmp_path / "*.png")
    assert list(image_paths([nothing])) == [nothing]


def test_names_come_from_stdin_line_by_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a b.jpg\n\n  \nc.jpg"))
    assert list(image_paths(["x.jpg", "-"])) == ["x.jpg", "a b.jpg", "c.jpg"]
    monkeypatch.setattr("sys.stdin", None)  # a process without one
    assert list(image_paths(["-"])) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        images_in_folder(tmp_path / "gone")
