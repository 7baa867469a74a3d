"""Features in every form in which other systems write them: the values of the arrays written."""

import io
import pickle

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from eval import command
from prepro import adopt
from prepro.annotations.records import ImageRecord
from prepro.extraction.external_features import open_external_features
from prepro.storage.feature_file import FeatureFile
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary
from tests.prepro.extraction.external_set import (
    BOXES,
    IDS,
    NAMES,
    PIXELS,
    REGIONS,
    RNG,
    SIZES,
    D,
    adopted,
    check,
)


@pytest.mark.parametrize("key", ["feat", "features", "x", "z", "img"])
def test_the_names_of_arrays(folder, key):
    for i, regions in REGIONS.items():
        np.savez(folder / f"{i}.npz", **{key: regions})
    check(adopted(folder, att=folder), boxes=False)


def test_another_name_is_given_with_key(folder, capsys):
    for i, regions in REGIONS.items():
        np.savez(folder / f"{i}.npz", mine=regions, num=[1])
    words = ["--data", str(folder), "--att", str(folder)]
    assert command.run(adopt.Options, adopt.main, words) == 2
    said = capsys.readouterr().err
    assert "391895.npz" in said and "mine, num; name one with --key" in said
    assert len(said.strip().splitlines()) == 1
    check(adopted(folder, att=folder, key="mine"), boxes=False)


@pytest.mark.parametrize("key", ["pos_boxes", "boxes", "bbox"])
def test_boxes_in_npz_are_normalised(folder, key):
    for i, regions in REGIONS.items():
        width, height = SIZES[i]
        values = {"x": regions, key: PIXELS[i], "image_w": width, "image_h": height}
        np.savez(folder / f"{i}.npz", **values)
    check(adopted(folder, att=folder))


def test_uniters_normalised_boxes(folder):
    for i, regions in REGIONS.items():
        more = np.concatenate([BOXES[i], np.ones((len(regions), 3))], 1)
        np.savez(folder / f"{i}.npz", features=regions, norm_bb=more.astype(np.float16))
    found = adopted(folder, att=folder)
    assert np.allclose(found.boxes(np.array([0]))[0][:3], BOXES[IDS[0]], atol=1e-3)


def test_a_folder_of_boxes_takes_sizes_from_the_pictures(folder, capsys):
    for name, arrays in (("att", REGIONS), ("box", PIXELS)):
        (folder / name).mkdir()
        for i, array in arrays.items():
            np.save(folder / name / f"{i}.npy", array)
    found = adopted(folder, att=folder / "att", boxes=folder / "box")
    assert not found.has_boxes and "boxes of 3 pictures are in pixels" in capsys.readouterr().err
    (folder / "images").mkdir()
    for i in IDS:
        Image.new("RGB", SIZES[i]).save(folder / NAMES[i])
    with pytest.raises(ValueError, match="written without boxes"):
        adopted(folder, att=folder / "att", boxes=folder / "box")
    (folder / "features.h5").unlink()
    again = adopted(folder, att=folder / "att", boxes=folder / "box")
    check(again)
    assert again.provenance == found.provenance  # boxes are no input of a decoder


def test_lmdb(folder):
    """As scripts/dump_to_lmdb.py writes it: the bytes of files, and pickles of its own."""
    lmdb = pytest.importorskip("lmdb")
    base = lmdb.open(str(folder / "bu.lmdb"), subdir=False, map_size=1 << 24)
    with base, base.begin(write=True) as writing:
        for i, regions in REGIONS.items():
            data = io.BytesIO()
            np.savez(data, feat=regions) if i == 12 else np.save(data, regions)
            writing.put(str(i).encode(), data.getvalue())
        writing.put(b"__keys__", pickle.dumps({"391895"}))
    check(adopted(folder, att=folder / "bu.lmdb"), boxes=False)
    (folder / "features.h5").unlink()
    whole = (folder / "bu.lmdb").read_bytes()
    (folder / "bu.lmdb").write_bytes(whole[:9000])
    with pytest.raises(ValueError, match="cut off"):
        adopted(folder, att=folder / "bu.lmdb")
    (folder / "bu.lmdb").write_bytes(b"nothing" * 5000)
    with pytest.raises(ValueError, match="not a readable LMDB"):
        adopted(folder, att=folder / "bu.lmdb")


def test_names_in_a_folder_of_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    data = io.BytesIO()
    np.save(data, np.ones((2, 3)))
    base = lmdb.open(str(tmp_path / "base"), map_size=1 << 24)
    with base, base.begin(write=True) as writing:
        for name in ("1", "n" * 511):
            writing.put(name.encode(), data.getvalue())
        writing.put(b"2", b"PNG and more")
    read = open_external_features(tmp_path / "base")
    for name in (1, "n" * 511):
        assert read(ImageRecord(name, "x.jpg", "train", ())).features.shape == (2, 3)
    with pytest.raises(ValueError, match="2 in .*base: neither an .npy nor an .npz file"):
        read(ImageRecord(2, "x.jpg", "train", ()))
    for name in ("n" * 512, "é" * 256, 3):  # longer than a key can be
        with pytest.raises(ValueError, match="no features named"):
            read(ImageRecord(name, "x.jpg", "train", ()))


def test_lmdb_that_is_not_installed(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    (folder / "bu.lmdb").write_bytes(b"")
    with pytest.raises(ValueError, match=r"needs lmdb: pip install 'resnet-caption\[lmdb\]'"):
        adopted(folder, att=folder / "bu.lmdb")


@pytest.mark.parametrize("is_tensor", [True, False])
@pytest.mark.parametrize("is_text", [True, False])
def test_one_pth_dictionary(folder, is_tensor, is_text):
    table = {str(i) if is_text else i: REGIONS[i] for i in IDS}
    if is_tensor:
        table = {name: torch.from_numpy(value) for name, value in table.items()}
    torch.save(table, folder / "feats.pth")
    check(adopted(folder, att=folder / "feats.pth"), boxes=False)


class Payload:
    def __reduce__(self):
        return __import__("os").mkdir, ("unpickled",)


def test_an_evil_pth_does_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    torch.save({"391895": Payload()}, folder / "feats.pth")
    with pytest.raises(ValueError, match="not a dictionary of features"):
        adopted(folder, att=folder / "feats.pth")
    torch.save({"391895": Payload()}, folder / "f.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="not a dictionary of features"):
        adopted(folder, att=folder / "f.pth")
    assert not (folder / "unpickled").exists()


def test_m2_transformers_hdf5(folder):
    grids = {i: RNG.random((4, D)).astype(np.float32) for i in IDS}
    with h5py.File(folder / "coco_detections.hdf5", "w") as file:
        for i in IDS:
            file[f"{i}_features"], file[f"{i}_boxes"] = REGIONS[i], PIXELS[i]
            file[f"{i}_size"], file[f"{i}_cls_prob"] = SIZES[i], np.ones((len(REGIONS[i]), 7))
    check(adopted(folder, att=folder / "coco_detections.hdf5"))
    with h5py.File(folder / "coco_detections.hdf5", "a") as file:
        for i in IDS:
            file[f"{i}_grids"] = grids[i]
    (folder / "features.h5").unlink()
    with pytest.raises(ValueError, match=r"391895_grids for one picture; .* --key features"):
        adopted(folder, att=folder / "coco_detections.hdf5")
    check(adopted(folder, att=folder / "coco_detections.hdf5", key="features"))
    (folder / "features.h5").unlink()
    found = adopted(folder, att=folder / "coco_detections.hdf5", key="grids")
    assert np.array_equal(found.att(np.array([1]))[0], grids[12].astype(np.float16))
    assert not found.has_boxes


def test_names_of_files(folder):
    """A picture's file name with .npz behind it, and an id with zeros before it."""
    np.savez(folder / "COCO_000000391895.jpg.npz", feat=REGIONS[391895])
    np.save(folder / "000000000012.npy", REGIONS[12])
    np.save(folder / "COCO_000000000013.npy", REGIONS[13])
    check(adopted(folder, att=folder), boxes=False)


def test_zeros_before_the_id_are_not_another_pictures_number(tmp_path):
    """Ids count pictures, and file names are numbers of another kind."""
    records = [ImageRecord(5, "000000000007.jpg", "train", ("a",)),
               ImageRecord(6, "000000000005.jpg", "train", ("a",))]  # fmt: skip
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * 2, 2, {"image_root": ""})
    np.save(tmp_path / "000000000005.npy", REGIONS[12])
    assert adopt.main(adopt.Options(tmp_path, att=tmp_path)) == 1
    assert FeatureFile(tmp_path / "features.h5").status.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("layout", "shape", "axes", "hint"),
    [
        ("dhw", (2, 2, D), (2, 0, 1), "--layout dhw"),
        ("dr", (4, D), (1, 0), "--layout dr"),
        ("hwd", (5, 4, D), (0, 1, 2), None),
        ("rd", (4, D), (0, 1), None),
    ],
)  # fmt: skip
def test_layouts(folder, layout, shape, axes, hint):
    arrays = {i: RNG.random(shape).astype(np.float32) for i in IDS}
    for i, array in arrays.items():
        np.save(folder / f"{i}.npy", array.transpose(axes)[None])
    if hint:
        with pytest.raises(ValueError, match=f"which dimension .* {hint}"):
            adopted(folder, att=folder)
        assert not (folder / "features.h5").exists()
    else:
        adopted(folder, att=folder)
        (folder / "features.h5").unlink()
    found = adopted(folder, att=folder, layout=layout)
    expected = arrays[12].reshape(-1, D).astype(np.float16)
    assert np.array_equal(found.att(np.array([1]))[0], expected)


def test_a_varying_last_dimension_is_the_regions(folder):
    for i, regions in REGIONS.items():
        np.save(folder / f"{i}.npy", regions.T)
    with pytest.raises(ValueError, match="--layout dr"):
        adopted(folder, att=folder)
    check(adopted(folder, att=folder, layout="dr"), boxes=False)


def test_many_regions_of_few_numbers_are_read_where_their_number_varies(folder):
    arrays = {i: RNG.random((20 + k, D)).astype(np.float32) for k, i in enumerate(IDS)}
    for i, array in arrays.items():
        np.save(folder / f"{i}.npy", array)
    assert adopted(folder, att=folder).att(np.array([0])).shape == (1, 22, D)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_damaged_arrays_are_bad_pictures(tmp_path, ending):
    """Bytes changed at random: an array or a ValueError, and nothing else."""
    record, rng = ImageRecord(7, "7.jpg", "train", ("a",)), np.random.default_rng(0)
    path = tmp_path / f"7.{ending}"
    np.save(path, REGIONS[12]) if ending == "npy" else np.savez(path, x=REGIONS[12], bbox=BOXES[12])
    whole, read, refused = path.read_bytes(), open_external_features(tmp_path), 0
    for _ in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, min(len(damaged), 200), rng.integers(1, 8))
        damaged[places] = rng.integers(0, 256, len(places))
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 400)].tobytes())
        try:
            read(record)
        except ValueError:
            refused += 1
    assert refused > 100
