"""Files that do not belong together are refused in one line."""

import json
import shutil
from dataclasses import replace

import h5py
import pytest

from caption.config import TrainConfig
from caption.training.setup import open_trainer
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
