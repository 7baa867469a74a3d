"""caption.generate: killed, shared out, from features and from pictures, always the same file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch

from caption import generate
from caption.captioner import Captioner
from caption.inference.caption_ensemble import CaptionEnsemble
from caption.pretrained.model_format import write_model
from caption.training.encoder_payload import finetuned_encoder_payload
from eval.results_provenance import read_about
from prepro.images import open_rgb
from tests.caption import tiny_runs as maker
from tests.cli.conftest import ENVIRONMENT, ROOT


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("generate"), ("topdown", "show_tell"))


def made(out: Path, *runs: Path, status: int = 0, **options) -> list[dict]:
    options = generate.Options(out, runs, device="cpu", batch_size=2, **options)
    assert generate.main(options) == status
    return json.loads(out.read_text())


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.part"))


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_killed_command_goes_on(tiny, tmp_path, monkeypatch, batches):
    run, out = tiny.runs["topdown"], tmp_path / "results.json"
    whole = made(tmp_path / "whole.json", run)
    left, say = [batches], CaptionEnsemble.decode

    def stopped(ensemble, features, *rest, **more):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return say(ensemble, features, *rest, **more)

    monkeypatch.setattr(CaptionEnsemble, "decode", stopped)
    with pytest.raises(KeyboardInterrupt):
        made(out, run)
    assert not out.exists()
    for path in parts(tmp_path):  # the kill came in the middle of a line
        path.write_text(path.read_text() + '{"key": "')
    left[0] = 3 - batches  # of three batches of two
    assert made(out, run) == whole
    assert parts(tmp_path) == []


def test_other_options_begin_anew(tiny, tmp_path, monkeypatch):
    run, out = tiny.runs["topdown"], tmp_path / "results.json"
    with monkeypatch.context() as patch:
        patch.setattr("caption.inference.partial_results.PartialResults.join", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made(out, run)
    assert len(parts(tmp_path)) == 1
    found = made(out, run, decode={"beam": 1})
    assert found == made(tmp_path / "whole.json", run, decode={"beam": 1})


def test_a_second_command_does_not_write_into_the_same_file(tiny, tmp_path, monkeypatch):
    run, out, say = tiny.runs["topdown"], tmp_path / "results.json", CaptionEnsemble.decode
    refused = []

    def another(*rest, **more):
        monkeypatch.setattr(CaptionEnsemble, "decode", say)
        with pytest.raises(RuntimeError, match="another caption.generate is writing it"):
            made(out, run)
        refused.append(True)
        return say(*rest, **more)

    monkeypatch.setattr(CaptionEnsemble, "decode", another)
    found = made(out, run)
    assert refused and found == made(tmp_path / "whole.json", run)


def test_two_processes_write_what_one_does(tiny, tmp_path):
    run, out = tiny.runs["topdown"], tmp_path / "results.json"
    words = ["--run", run, "--out", out, "--batch-size", 2, "--device", "cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", 2, "-m", "--", "caption.generate", *words]
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 6 captions\n"
    whole = tmp_path / "whole.json"
    made(whole, run)
    assert out.read_bytes() == whole.read_bytes()
    assert parts(tmp_path) == []


def test_a_folder_is_captioned_like_its_split(tiny, tmp_path):
    """Stored features against the pictures; and a picture that is none is named and left out."""
    folder, run = tmp_path / "pictures", tiny.runs["topdown"]
    folder.mkdir()
    split = made(tmp_path / "split.json", run, decode={"n": 2})
    for row in split:
        source = tiny.data / "images" / f"{row['image_id']:06d}.jpg"
        (folder / source.name).write_bytes(source.read_bytes())
    (folder / "000012b.jpg").write_text("<html>")
    found = made(tmp_path / "found.json", run, images=folder, decode={"n": 2}, status=1)
    assert [row["image_id"] for row in found] == [f"{row['image_id']:06d}.jpg" for row in split]
    for one, other in zip(found, split, strict=True):
        assert one["caption"] == other["caption"] == other["captions"][0]["caption"]
        for first, second in zip(one["captions"], other["captions"], strict=True):
            assert first["words"] == second["words"]
            assert first["log_probs"] == pytest.approx(second["log_probs"], abs=1e-3)


def test_a_trained_encoder_looks_at_the_pictures(tiny, tmp_path, capsys):
    """Its stored features are those of the encoder before it was trained."""
    captioner = tiny.captioner("topdown")
    with torch.no_grad():
        for weight in captioner.encoder.network.parameters():
            weight.mul_(1.3)
    path = tmp_path / "run" / "model.safetensors"
    write_model(
        path, captioner.decoder, captioner.vocabulary.words,
        *finetuned_encoder_payload(captioner.encoder), captioner.regions,
        captioner.decoding, captioner.run,
    )  # fmt: skip
    found = made(tmp_path / "found.json", path.parent)
    assert "every picture is encoded again" in capsys.readouterr().err
    trained = Captioner.load(path)
    names = [tiny.data / "images" / f"{row['image_id']:06d}.jpg" for row in found]
    pictures = [open_rgb(name, trained.encoder.transform.resize) for name in names]
    assert [row["caption"] for row in found] == trained.sentences(pictures)
    assert found != made(tmp_path / "old.json", tiny.runs["topdown"])
    assert read_about(tmp_path / "found.json")["features"] is None  # it used none that are stored
    assert read_about(tmp_path / "old.json")["features"]


def test_features_of_another_system_are_enough(tiny, tmp_path):
    """A run that was trained on adopted features has no encoder, and needs none for a split."""
    data, captioner = tmp_path / "data", tiny.captioner("topdown")
    shutil.copytree(tiny.data, data)
    with h5py.File(data / "features.h5", "a") as file:
        file.attrs["weights_sha256"], file.attrs["transform"] = "", "{}"
    header = {"encoder": "adopted", "weights": "x", "sha256": "", "public": True, "transform": {}}
    write_model(
        tmp_path / "run" / "model.safetensors", captioner.decoder, captioner.vocabulary.words,
        header, {}, captioner.regions,
        captioner.decoding, captioner.run,
    )  # fmt: skip
    found = made(tmp_path / "found.json", tmp_path / "run", data=data)
    assert found == made(tmp_path / "whole.json", tiny.runs["topdown"])
    with pytest.raises(ValueError, match="another system, so it cannot encode pictures"):
        made(tmp_path / "none.json", tmp_path / "run", images=data / "images")


def test_an_ensemble_averages_probabilities(tiny, tmp_path):
    runs = tiny.runs["topdown"], tiny.runs["show_tell"]
    one, other = (Captioner.load(run / "model.safetensors") for run in runs)
    for row in made(tmp_path / "both.json", *runs, decode={"n": 2}):
        name = tiny.data / "images" / f"{row['image_id']:06d}.jpg"
        for caption in row["captions"]:
            words = one.vocabulary.encode(caption["words"])
            inputs = [*words, 0][: len(caption["log_probs"])]
            forced = []
            for member in (one, other):
                features = member.encode_images([open_rgb(name, member.encoder.transform.resize)])
                with torch.no_grad():
                    every = member.decoder(features, torch.tensor([[[0, *words]]]))[0, 0]
                forced.append(
                    [float(p[word].exp()) for p, word in zip(every, inputs, strict=False)]
                )
            mean = torch.tensor(forced).mean(0).log().tolist()
            assert caption["log_probs"] == pytest.approx(mean, abs=1e-3)


def test_consensus_counts_the_training_captions(tiny, tmp_path, monkeypatch):
    known = []
    say = CaptionEnsemble.decode

    def listening(*rest, frequencies=None, **more):
        known.append(frequencies)
        return say(*rest, frequencies=frequencies, **more)

    monkeypatch.setattr(CaptionEnsemble, "decode", listening)
    made(tmp_path / "found.json", tiny.runs["topdown"], decode={"consensus": True})
    records = json.loads((tiny.data / "labels.json").read_text())["images"]
    train = [record for record in records if record["split"] == "train"]
    holding = sum(any("two" in c.split() for c in record["captions"]) for record in train)
    row = known[0].vocabulary.index("two")
    assert known[0].images == len(train)
    assert known[0].counts[0][row] == holding


def test_the_test_server_gets_its_name_and_numbers(tiny, tmp_path):
    folder = tmp_path / "test2014"
    folder.mkdir()
    for path in sorted((tiny.data / "images").iterdir())[:3]:
        (folder / f"COCO_test2014_{int(path.stem) + 70:012d}.jpg").write_bytes(path.read_bytes())
    options = generate.Options(
        tmp_path / "out.json", (tiny.runs["show_tell"],), folder, coco="ours", device="cpu"
    )
    assert generate.main(options) == 0
    found = json.loads((tmp_path / "captions_test2014_ours_results.json").read_text())
    assert [set(row) for row in found] == [{"image_id", "caption"}] * 3
    assert [row["image_id"] for row in found] == [70, 71, 72]
    (folder / "COCO_val2014_000000000001.jpg").write_bytes(b"")
    with pytest.raises(
        ValueError, match="the server takes one set, these are of test2014, val2014"
    ):
        generate.main(options)


def test_a_folder_is_refused_before_anything_is_captioned(tmp_path):
    with pytest.raises(ValueError, match="this is a folder; give a file"):
        generate.main(generate.Options(tmp_path))
