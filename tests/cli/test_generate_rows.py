"""caption.generate: its batches, its rows, what it says, what makes it begin anew."""

import hashlib
import json
import os
import shutil

import pytest

from caption import generate
from caption.decoding.decode import DecodeOptions
from caption.inference.caption_ensemble import CaptionEnsemble
from eval.results_provenance import read_about
from prepro.runtime import distributed
from tests.caption import tiny_runs as maker
from tests.cli.test_generate import made, parts


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("generate"), ("topdown", "show_tell"))


def test_a_row_has_all_captions_only_if_there_are_several(tiny, tmp_path):
    run = tiny.runs["topdown"]
    rows = made(tmp_path / "one.json", run)
    assert [set(row) for row in rows] == [{"image_id", "caption"}] * 6
    folder = tiny.data / "images"
    rows = made(tmp_path / "two.json", run, images=folder, decode={"n": 2})
    assert all(set(row) == {"image_id", "caption", "captions"} for row in rows)
    assert all(len(row["captions"]) == 2 for row in rows)


def test_what_could_not_be_read_is_named_and_counted(tiny, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(next((tiny.data / "images").iterdir()), folder / "good.jpg")
    for name in ("b.jpg", "a.jpg"):
        (folder / name).write_text("<html>")
    out = tmp_path / "found.json"
    assert len(made(out, tiny.runs["topdown"], images=folder, status=1)) == 1
    said = capsys.readouterr()
    assert said.out == f"{out}: 1 captions, 2 pictures could not be read\n"
    named = [line for line in said.err.splitlines() if line.startswith("caption.generate: ")]
    assert [line.split(": ")[1] for line in named] == [str(folder / n) for n in ("a.jpg", "b.jpg")]


def test_captions_that_are_all_the_same_are_warned_of(tiny, tmp_path, capsys, monkeypatch):
    warnings = "eval.caption_statistics.caption_warnings"
    monkeypatch.setattr(warnings, lambda captions: [f"{len(captions)} captions"])
    out = tmp_path / "found.json"
    made(out, tiny.runs["topdown"])
    said = capsys.readouterr()
    assert "warning: 6 captions\n" in said.err and said.out == f"{out}: 6 captions\n"


@pytest.mark.parametrize("size, sizes", [(4, [4, 2]), (3, [3, 3]), (1, [1] * 6), (50, [6])])
def test_batches_are_of_the_size_that_was_asked_for(tiny, tmp_path, monkeypatch, size, sizes):
    found = []
    monkeypatch.setattr(
        "caption.inference.partial_results.PartialResults.write",
        lambda self, number, rows: found.append((number, len(rows))),
    )
    monkeypatch.setattr("caption.inference.partial_results.PartialResults.join", lambda *_: [])
    run = tiny.runs["show_tell"]
    generate.main(generate.Options(tmp_path / "r.json", (run,), device="cpu", batch_size=size))
    assert found == list(enumerate(sizes))


def test_processes_wait_for_one_another_before_the_first_caption(tiny, tmp_path, monkeypatch):
    """Each has its file by then; one whose file is missing would be taken for one that is done."""
    out, told = tmp_path / "r.json", []

    def gather(context, value):
        told.append(("all are here", parts(tmp_path) != []))
        return [value]

    monkeypatch.setattr(distributed, "all_gather", gather)
    monkeypatch.setattr(distributed, "shutdown_distributed", lambda: told.append("shut down"))
    monkeypatch.setattr(CaptionEnsemble, "decode", lambda *_, **__: told.append("caption") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(out, tiny.runs["topdown"])
    assert told == [("all are here", True), "caption", "shut down"]


@pytest.mark.parametrize(
    ("digests", "known"), [([5, 6], True), ([5, None], False), ([None], False), ([], False)]
)
def test_pictures_have_a_hash_where_all_were_encoded(tiny, digests, known):
    options = generate.Options(run=(tiny.runs["topdown"],))
    job = generate.Job(options, None, DecodeOptions(), None, None, None, None)
    _, about = job.provenance(digests)
    assert (about["pictures"] is not None) == known


def test_a_precision_that_the_device_lacks_is_refused(tiny, tmp_path, monkeypatch):
    def refuse(name, device):
        raise ValueError(f"no {name} on {device}")

    monkeypatch.setattr("prepro.runtime.precision.check_precision", refuse)
    with pytest.raises(ValueError, match="no bfloat16 on cpu"):
        made(tmp_path / "r.json", tiny.runs["topdown"], precision="bfloat16")


def test_a_batch_of_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--batch-size must be at least 1"):
        generate.main(generate.Options(tmp_path / "r.json", batch_size=0))


def test_samples_are_of_seed_0_unless_another_is_given(tiny, tmp_path):
    run, sample = tiny.runs["topdown"], {"sample": "temperature=2"}
    found = made(tmp_path / "a.json", run, decode=sample)
    assert found == made(tmp_path / "b.json", run, decode=sample, seed=0)
    assert found != made(tmp_path / "c.json", run, decode=sample, seed=1)


@pytest.mark.parametrize("change", ["model", "picture", "seed"])
def test_what_has_changed_begins_anew(tiny, tmp_path, monkeypatch, change):
    """Another model under the same name, another picture, another seed: nothing is continued."""
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    shutil.copytree(tiny.runs["topdown"], run)
    pictures.mkdir()
    for path in sorted((tiny.data / "images").iterdir())[:4]:
        shutil.copy(path, pictures / path.name)
    with monkeypatch.context() as patch:
        patch.setattr("caption.inference.partial_results.PartialResults.join", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made(tmp_path / "r.json", run, images=pictures)
    batches, say = [], CaptionEnsemble.decode

    def counted(*rest, **more):
        batches.append(1)
        return say(*rest, **more)

    monkeypatch.setattr(CaptionEnsemble, "decode", counted)
    if change == "model":
        os.utime(run / "model.safetensors", ns=(1, 1))
    elif change == "picture":
        os.utime(next(pictures.iterdir()), ns=(1, 1))
    made(tmp_path / "r.json", run, images=pictures, seed=int(change == "seed"))
    assert len(batches) == 2


def test_the_results_say_which_models_and_pictures_they_are_of(tiny, tmp_path):
    runs = tiny.runs["topdown"], tiny.runs["show_tell"]
    out, images = tmp_path / "r.json", tiny.data / "images"
    made(out, *runs)
    about = read_about(out)
    files = [(run / "model.safetensors").read_bytes() for run in runs]
    assert about["models"] == [hashlib.sha256(data).hexdigest() for data in files]
    assert about["runs"] == [str(run) for run in runs] and about["split"] == "test"
    assert about["captions"] and about["features"] and about["pictures"] is None
    made(out, *runs, images=images)
    about = read_about(out)
    assert about["captions"] is about["features"] is None and about["split"] == ""
    assert about["pictures"]


@pytest.mark.parametrize("with_data", [False, True])
def test_consensus_of_a_folder_knows_the_captions_of_data(tiny, tmp_path, monkeypatch, with_data):
    known, say = [], CaptionEnsemble.decode

    def listening(*rest, frequencies=None, **more):
        known.append(frequencies)
        return say(*rest, frequencies=frequencies, **more)

    monkeypatch.setattr(CaptionEnsemble, "decode", listening)
    more = {"data": tiny.data} if with_data else {}
    options = {"images": tiny.data / "images", "decode": {"consensus": True, "beam": 2}}
    made(tmp_path / "r.json", tiny.runs["show_tell"], **options, **more)
    assert (known[0] is not None) == with_data


def test_the_test_server_gets_one_caption_of_several(tiny, tmp_path):
    folder = tmp_path / "val2014"
    folder.mkdir()
    shutil.copy(next((tiny.data / "images").iterdir()), folder / "12.jpg")
    run, n = (tiny.runs["show_tell"],), {"n": 2}
    generate.main(
        generate.Options(tmp_path / "r.json", run, folder, coco="a", device="cpu", decode=n)
    )
    (row,) = json.loads((tmp_path / "captions_val2014_a_results.json").read_text())
    assert set(row) == {"image_id", "caption"} and row["image_id"] == 12
