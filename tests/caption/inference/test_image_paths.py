"""The pictures that a command line names."""

import pytest

from caption.inference.image_paths import image_paths


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
