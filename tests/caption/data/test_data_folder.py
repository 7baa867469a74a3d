"""A data folder: files that belong together, and one line for each that does not."""

import shutil
from pathlib import Path

import h5py
import pytest

from caption.data.data_folder import DataFolder
from prepro.storage.feature_file import BAD
from tests.caption.drawn_folder import make_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("images"))


def test_a_folder_of_this_version_is_opened_without_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataFolder.open(folder)
    assert len(data.features) == len(data.labels.records) == 32
    assert data.split("val").tolist() == list(range(23, 30))
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_not_there_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none: no such data folder; make one with: make "):
        DataFolder.open(tmp_path / "none")


def test_features_of_other_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", train=5, val=2)
    shutil.copy(other / "features.h5", folder / "features.h5")
    with pytest.raises(ValueError, match=r"features.h5: of the pictures .* but labels.json lists"):
        DataFolder.open(folder)


def test_features_without_hashes_are_opened_with_a_note(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(folder / "features.h5", "r+") as file:
        del file["picture"], file.attrs["pictures"]
    DataFolder.open(folder)
    assert "written by an earlier version, without hashes of its pi" in capsys.readouterr().err
    with h5py.File(folder / "features.h5", "r+") as file:
        file.attrs["transform"] = "{}"  # of features that prepro.adopt took from elsewhere
    DataFolder.open(folder)
    assert capsys.readouterr().err == ""
    with h5py.File(folder / "features.h5", "r+") as file:
        file.attrs["weights_sha256"] = ""
    DataFolder.open(folder)
    note = capsys.readouterr().err
    assert "without a hash of its features" in note and "earlier version" not in note


def test_pictures_that_could_not_be_read_are_in_no_split(folder: Path) -> None:
    data = DataFolder.open(folder)
    status = data.features.status.copy()
    status[[24, 31]] = BAD
    data.features.status = status
    assert data.split("val").tolist() == [23, *range(25, 30)]
    assert data.split("test").tolist() == [30]


def test_the_folder_of_a_run_is_the_one_that_was_given_or_its_own(folder: Path) -> None:
    own, gone = ({"config": {"data": str(path)}} for path in (folder, folder / "gone"))
    assert DataFolder.of_run(own, None).labels.folder == folder
    assert DataFolder.of_run(gone, folder).labels.folder == folder
    with pytest.raises(FileNotFoundError, match="gone: the data folder .* is not here; give --da"):
        DataFolder.of_run(gone, None)
    with pytest.raises(FileNotFoundError, match="none: no such data folder"):
        DataFolder.of_run(own, folder / "none")
