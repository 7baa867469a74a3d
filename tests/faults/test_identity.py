"""Files that do not belong together are refused in one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from PIL import Image

from caption import generate
from caption import report as caption_report
from caption.config import TrainConfig
from caption.training import checkpoint
from caption.training.setup import open_trainer
from eval import command
from eval.results_provenance import about_file, read_about
from prepro import features
from prepro.runtime.distributed import init_distributed
from prepro.storage.label_file import read_labels
from tests.caption.drawn_folder import make_folder


@pytest.fixture
def data(tmp_path):
    return make_folder(tmp_path / "data")


def edit(folder, change):
    value = json.loads((folder / "labels.json").read_text())
    change(value)
    (folder / "labels.json").write_text(json.dumps(value))


def another_caption(value):
    value["images"][0]["captions"][0] += " again"


def another_split(value):
    value["images"][0]["split"] = "test"


@pytest.mark.parametrize("change", [another_caption, another_split])
def test_edited_labels_are_refused(data, change):
    edit(data, change)
    with pytest.raises(ValueError, match="other captions than labels.json; run prepro.labels"):
        read_labels(data)


@pytest.mark.parametrize("name", ["labels", "label_length", "label_start_ix", "label_end_ix"])
def test_edited_arrays_are_refused(data, name):
    with h5py.File(data / "labels.h5", "r+") as file:
        values = file[name][:]
        file[name][:] = values[::-1]
    with pytest.raises(ValueError, match=r"labels\.h5"):
        read_labels(data)


def test_an_attribute_of_another_kind_is_refused(data):
    with h5py.File(data / "labels.h5", "r+") as file:
        file.attrs["captions"] = [1, 2, 3]
    with pytest.raises(ValueError, match=r"labels\.h5: made with other captions"):
        read_labels(data)


def test_captions_that_are_larger_than_their_file_are_not_read(data):
    """8 GB of zeros in a compressed dataset of a few KB."""
    with h5py.File(data / "labels.h5", "r+") as file:
        del file["labels"]
        file.create_dataset("labels", (1 << 25, 64), "u4", chunks=(1 << 20, 64), compression=1)
    with pytest.raises(ValueError, match=r"labels\.h5: labels has 8,590 MB"):
        read_labels(data)


def test_new_beside_old_is_refused(data, tmp_path):
    """A kill between the two writes leaves the new labels.h5 beside the old labels.json."""
    other = make_folder(tmp_path / "other", train=22, val=8)
    shutil.copy(other / "labels.h5", data / "labels.h5")
    with pytest.raises(ValueError, match=r"labels\.h5"):
        read_labels(data)


def test_files_without_hashes_are_read_with_a_warning(data, capsys):
    edit(data, lambda value: value.pop("arrays_sha256"))
    read_labels(data)
    assert "without the hashes" in capsys.readouterr().err


def test_a_run_does_not_resume_on_other_captions(data, tmp_path):
    """The same vocabulary and the same pictures, but the captions are exchanged."""
    config = TrainConfig(data=data, out=tmp_path / "run", hidden=8, embedding=8, epochs=1)
    context = init_distributed("cpu")
    with open_trainer(config, context) as trainer:
        trainer.save(best=True)
    from prepro.storage import label_file

    found = read_labels(data)
    records = list(found.records)
    first, second = records[:2]
    records[:2] = replace(first, captions=second.captions), replace(second, captions=first.captions)
    assert first.captions != second.captions
    words = [found.labels[row, : found.lengths[row]].tolist() for row in range(len(found.labels))]
    label_file.write_labels(data, records, found.vocabulary, words, found.labels.shape[1], {})
    with pytest.raises(ValueError, match="other captions or splits"):
        open_trainer(replace(config, resume=True), context)


@pytest.fixture
def trained(data, tmp_path):
    """The options of a run that was saved once, and its model."""
    config = TrainConfig(data=data, out=tmp_path / "run", hidden=8, embedding=8, epochs=1)
    with open_trainer(config, init_distributed("cpu")) as trainer:
        trainer.save(best=trainer.validate())
    return config


def extract(data) -> int:
    """prepro.features, for the features of make_folder."""
    weights = str(data / "encoder.safetensors")
    options = features.Options(
        data=data, encoder="resnet10-w8", weights=weights, resize=36, crop=32, regions=2,
        workers=0, device="cpu",
    )  # fmt: skip
    return features.main(options)


def repaint(data):
    Image.new("RGB", (48, 40), "white").save(data / "images" / "3.png")
    assert extract(data) == 0


def spoil(data):
    (data / "images" / "3.png").write_text("no picture any more")
    assert extract(data) == 1


def mirror(data):
    """Another transform; its features are of the same pictures and weights."""
    with h5py.File(data / "features.h5", "r+") as file:
        transform = json.loads(file.attrs["transform"])
        file.attrs["transform"] = json.dumps(transform | {"resize": 40})


def halve(data):
    with h5py.File(data / "features.h5", "r+") as file:
        file.attrs["precision"] = "bfloat16"


def forget_pictures(data):
    with h5py.File(data / "features.h5", "r+") as file:
        del file["picture"], file.attrs["pictures"]


CHANGES = {
    repaint: "pictures", spoil: "pictures", mirror: "transform", halve: "precision",
    forget_pictures: "pictures",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_does_not_resume_on_other_features(trained, change):
    change(trained.data)
    expected = f"made from features with {CHANGES[change]} .*--start"
    with pytest.raises(ValueError, match=expected):
        open_trainer(replace(trained, resume=True), init_distributed("cpu"))


def test_a_run_resumes_on_the_same_pictures_extracted_again(trained, capsys):
    """With new times of change, and after the file was removed."""
    assert extract(trained.data) == 0
    (trained.data / "features.h5").unlink()
    assert extract(trained.data) == 0
    capsys.readouterr()
    with open_trainer(replace(trained, resume=True), init_distributed("cpu")):
        assert "earlier version" not in capsys.readouterr().err


def test_checkpoints_without_the_hash_are_resumed_with_a_warning(trained, capsys):
    state = checkpoint.load(trained.out)
    del state["features"]["pictures"], state["captions"]
    checkpoint.save(trained.out, state, state["progress"]["step"], best=False)
    with open_trainer(replace(trained, resume=True), init_distributed("cpu")):
        warnings = capsys.readouterr().err
    assert "without the hash of the features" in warnings
    assert "without a hash of its captions" in warnings


def report(config, results) -> int:
    words = f"--run {config.out} --results {results} --out {results.with_suffix('.html')}"
    words += " --bootstrap 1 --device cpu"
    return command.run(caption_report.Options, caption_report.main, words.split())


@pytest.fixture
def results(trained, tmp_path):
    path = tmp_path / "results.json"
    words = ["--run", str(trained.out), "--out", str(path), "--device", "cpu"]
    assert command.run(generate.Options, generate.main, words) == 0
    return path


@pytest.mark.parametrize("change", [repaint, forget_pictures])
def test_results_of_other_pictures_are_not_reported(trained, results, change, capsys):
    assert report(trained, results) == 0
    results.with_suffix(".html").unlink()
    change(trained.data)
    capsys.readouterr()
    assert report(trained, results) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "made from features with pictures" in last and "run caption.generate again" in last
    assert not results.with_suffix(".html").exists()


def test_results_without_the_hash_are_reported_with_a_warning(trained, results, capsys):
    about = json.loads(about_file(results).read_text())
    assert about["features"]["pictures"]
    del about["features"]
    about_file(results).write_text(json.dumps(about))
    assert report(trained, results) == 0
    assert "without the hash of the features" in capsys.readouterr().err


@pytest.mark.parametrize("change", [lambda path: Image.new("L", (9, 9)).save(path), Path.unlink])
def test_results_of_encoded_pictures_are_not_reported_beside_others(
    trained, change, request, capsys
):
    """As those of a run whose encoder was fine-tuned, which uses no stored features."""
    mirror(trained.data)
    results = request.getfixturevalue("results")
    assert read_about(results)["features"] is None
    assert report(trained, results) == 0
    last = [image for image in read_labels(trained.data).records if image.split == "test"][-1]
    change(trained.data / last.path)
    capsys.readouterr()
    assert report(trained, results) == 2
    assert "made from pictures that have changed since" in capsys.readouterr().err.splitlines()[-1]
