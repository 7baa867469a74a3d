"""Pictures that change under their name: they are named, and their features are computed again."""

import hashlib
import os
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from prepro import features
from prepro.annotations.records import ImageRecord
from prepro.storage.feature_file import FeatureFile
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary
from tests.prepro.test_features import data_folder, options

FLAGS = {"encoder": "resnet8", "regions": 7, "resize": 64, "crop": 64, "batch_size": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = data_folder(tmp_path / "data")
    assert features.main(options(folder, **FLAGS)) == 0
    return folder


def stored(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    file = FeatureFile(folder / "features.h5")
    return file.fc(np.arange(7)), file.att(np.arange(7))


def repaint(path: Path) -> None:
    Image.effect_noise((64, 48), 90).convert("RGB").save(path)


def test_each_picture_has_the_hash_of_its_file(folder: Path) -> None:
    hashes = []
    with h5py.File(folder / "features.h5") as file:
        for i, (digest, size, changed) in enumerate(file["picture"][:].tolist()):
            path = folder / f"{i}.png"
            expected = hashlib.blake2b(path.read_bytes(), digest_size=8).digest()
            assert digest.to_bytes(8, "big", signed=True) == expected
            assert (size, changed) == (path.stat().st_size, path.stat().st_mtime_ns)
            hashes.append(digest.to_bytes(8, "little", signed=True))
        found = hashlib.sha256(b"".join(hashes)).hexdigest()
        assert file.attrs["pictures"].decode() == found and file.attrs["complete"]


def test_changed_pictures_are_named_and_computed_again(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    before = stored(folder)
    repaint(folder / "3.png")
    os.utime(folder / "5.png")  # the same bytes with another time
    (folder / "6.png").unlink()
    capsys.readouterr()
    assert features.main(options(folder, **FLAGS)) == 0
    assert capsys.readouterr().err.count("changed since its features were computed") == 1
    after = stored(folder)
    kept = [0, 1, 2, 4, 5, 6]
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old[kept], new[kept]) and not np.array_equal(old[3], new[3])
    with h5py.File(folder / "features.h5") as file:  # not read again
        assert file["picture"][5, 2] == (folder / "5.png").stat().st_mtime_ns
    (folder / "features.h5").unlink()
    repaint(folder / "6.png")
    features.main(options(folder, **FLAGS))
    for fresh, new in zip(stored(folder), after, strict=True):
        assert np.array_equal(fresh[:6], new[:6])


def test_a_stopped_run_computes_the_rest_of_the_changed_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(7):
        repaint(folder / f"{i}.png")
    monkeypatch.setattr("prepro.extraction.pipeline._check_finite", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        features.main(options(folder, **FLAGS))
    with pytest.raises(ValueError, match="7 of 7 pictures missing"):
        FeatureFile(folder / "features.h5").require(
            FeatureFile(folder / "features.h5").provenance.images
        )
    monkeypatch.undo()
    assert features.main(options(folder, **FLAGS)) == 0
    resumed = stored(folder)
    (folder / "features.h5").unlink()
    features.main(options(folder, **FLAGS))
    for one, two in zip(stored(folder), resumed, strict=True):
        assert np.array_equal(one, two)


def test_a_changed_picture_of_a_merged_file_names_the_shards(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "features.h5").unlink()
    for number in (1, 2):
        features.main(options(folder, **FLAGS, shard=f"{number}/2"))
    features.main(options(folder, **FLAGS, merge=True))
    repaint(folder / "0.png")
    with pytest.raises(ValueError, match="its rows lie in shards; run those with --shard"):
        features.main(options(folder, **FLAGS))
    assert "0.png: changed since" in capsys.readouterr().err
    assert features.main(options(folder, **FLAGS, shard="1/2")) == 0
    with pytest.raises(ValueError, match="changed since it was merged"):
        FeatureFile(folder / "features.h5")
    features.main(options(folder, **FLAGS, merge=True))
    assert features.main(options(folder, **FLAGS)) == 0


def test_changed_pictures_in_a_tar_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = data_folder(tmp_path / "data")
    records = [ImageRecord(i, f"all.tar/{i}.png", "train", ("a b",)) for i in range(7)]
    write_labels(folder, records, Vocabulary(("a", "b")), [[1, 2]] * 7, 4, {"image_root": ""})

    def pack() -> None:
        with tarfile.open(folder / "all.tar", "w") as file:
            for i in range(7):
                file.add(folder / f"{i}.png", f"{i}.png")

    pack()
    assert features.main(options(folder, **FLAGS)) == 0
    before = stored(folder)
    repaint(folder / "3.png")
    pack()
    capsys.readouterr()
    assert features.main(options(folder, **FLAGS)) == 0
    err = capsys.readouterr().err
    assert err.count("changed since") == 1 and "all.tar/3.png: changed since" in err
    differ = (before[0] != stored(folder)[0]).any(1)
    assert np.flatnonzero(differ).tolist() == [3]


def test_a_file_of_an_earlier_version_is_read_and_completed(folder: Path) -> None:
    with h5py.File(folder / "features.h5", "r+") as file:
        del file["picture"], file.attrs["pictures"]
        file["status"][2] = 0
    repaint(folder / "3.png")
    before = stored(folder)
    assert features.main(options(folder, **FLAGS)) == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, stored(folder), strict=True))
