"""Converted runs where other runs go: sample, generate, report, demo, ensembles, training."""

import json
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from caption import convert, generate, presets, sample, train
from caption.captioner import Captioner
from caption.data.data_folder import DataFolder
from caption.inference.image_source import features_for
from caption.report import Options, gather
from caption.serving.server import application
from caption.training.setup import open_trainer
from eval import command
from prepro import adopt
from prepro.encoders import create_encoder
from prepro.images import open_rgb
from prepro.runtime.distributed import init_distributed
from tests.caption import tiny_runs as maker
from tests.caption.conversion.checkpoint_files import write
from tests.caption.conversion.earlier_models import Sizes, log_probs, random_weights

KINDS = ("topdown", "adaatt", "att2in2", "transformer")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("converted"), ("topdown",))


def converted(folder, kind, words, features, *more, seed=0):
    """A run of a random checkpoint with these words, and its weights and sizes."""
    folder.mkdir()
    torch.manual_seed(seed)
    sizes = Sizes(words=len(words), features=features)
    weights = random_weights(kind, sizes)
    model, infos = write(folder, kind, sizes, weights, words)
    argv = ["--checkpoint", model, "--infos", infos, "--out", folder / "run", *more]
    assert command.run(convert.Options, convert.main, [*map(str, argv)]) == 0
    return folder / "run", weights, sizes


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Two converted runs with an encoder, which caption pictures."""
    folder = tmp_path_factory.mktemp("runs")
    words = tiny.captioner().vocabulary.words
    encoder = ("--encoder", "resnet10-w8", "--weights", tiny.data / "encoder.safetensors")
    return [
        converted(folder / kind, kind, words, 64, *encoder, seed=i)[0]
        for i, kind in enumerate(("topdown", "adaatt"))
    ]


@pytest.fixture
def pictures(tiny):
    return [str(path) for path in sorted((tiny.data / "images").iterdir())[:2]]


def test_pictures_are_encoded_as_that_system_encodes_them(tiny, runs, pictures):
    """scripts/prepro_feats.py: the whole picture, the mean of the map, 14 x 14 adaptive means."""
    captioner = Captioner.load(runs[0])
    picture = open_rgb(pictures[0]).resize((150, 90))
    found = captioner.encode_images([picture])
    assert not captioner.encoder_info["public"]  # its weights are in the file
    pixels = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1) / np.float32(255))
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    network = create_encoder("resnet10-w8", str(tiny.data / "encoder.safetensors")).network
    with torch.no_grad():
        grid = network.features(((pixels - mean) / std)[None])
    assert grid.shape[2:] == (3, 5)
    assert torch.allclose(found.fc, grid.mean((2, 3)), atol=2e-3)  # float16
    regions = F.adaptive_avg_pool2d(grid, 14)[0].permute(1, 2, 0).reshape(-1, 64)
    assert torch.allclose(found.att[0], regions, atol=2e-3)


def test_sample_and_ensembles(runs, pictures, tmp_path, capsys):
    for chosen in (runs[:1], runs):
        words = [*pictures, *(w for run in chosen for w in ("--run", str(run))), "--json"]
        assert sample.main(command.parse(sample.Options, words)) == 0
        for line in capsys.readouterr().out.splitlines():
            assert json.loads(line)["captions"][0]["words"]
    words = [pictures[0], "--run", str(runs[0]), "--attention", str(tmp_path)]
    assert sample.main(command.parse(sample.Options, words)) == 0
    about = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert len(about["attention"][0]) == 196


def test_report(tiny, runs, tmp_path):
    content = gather(Options(runs[0], (runs[1],), tmp_path / "r.html", tiny.data, bootstrap=20))
    for row in content["rows"]:
        assert all(caption["attention"] for caption in row["captions"])


def test_demo(runs, pictures):
    client = pytest.importorskip("starlette.testclient").TestClient(
        application(Captioner.load(runs[0])), base_url="http://127.0.0.1"
    )
    with client, open(pictures[0], "rb") as file:
        answer = client.post("/api/caption", content=file.read()).json()
    assert answer["captions"][0]["words"]


@pytest.fixture(scope="module")
def detected(tiny, tmp_path_factory):
    """The tiny run's pictures with adopted features: a grid (fixed) and a detector's (varying)."""
    folders = {}
    for name, varies in (("grid", False), ("detector", True)):
        data = folders[name] = tmp_path_factory.mktemp(name) / "data"
        data.mkdir()
        about = json.loads((tiny.data / "labels.json").read_text())
        for file in ("labels.json", "labels.h5"):
            (data / file).write_bytes((tiny.data / file).read_bytes())
        rng = np.random.default_rng(0)
        (data / "att").mkdir()
        for i, image in enumerate(about["images"]):
            count = 4 + varies * (i % 3)
            np.save(data / "att" / f"{image['id']}.npy", rng.random((count, 12), np.float32))
        assert adopt.main(adopt.Options(data, att=data / "att")) == 0
    return folders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["grid", "detector"])
def test_stored_features_of_an_unknown_encoder(detected, tmp_path, kind, where):
    """caption.generate and reports read them, and the numbers are that system's."""
    data = DataFolder.open(detected[where])
    words = data.labels.vocabulary.words
    run, weights, sizes = converted(tmp_path / kind, kind, words, 12)
    captioner = Captioner.load(run)
    features = features_for(captioner, data)(np.arange(3))
    tokens = torch.randint(1, len(words), (3, 2, 4))
    tokens[..., 0] = 0
    fc, att, mask = features
    mask = torch.ones(att.shape[:2]) if mask is None else mask
    expected = log_probs(kind, weights, sizes, fc, att, mask, tokens)
    assert (captioner.log_probs(tokens, *features) - expected).abs().max() < 2e-5
    out = tmp_path / "results.json"
    argv = ["--run", run, "--data", detected[where], "--split", "test", "--out", out]
    assert command.run(generate.Options, generate.main, [*map(str, argv)]) == 0
    assert len(json.loads(out.read_text())) == 6


def trained(argv):
    config = presets.from_command_line([*map(str, argv)])
    with open_trainer(config, init_distributed("cpu")) as trainer:
        before = {k: v.clone() for k, v in trainer.learner.network.decoder.state_dict().items()}
        assert train.train(trainer) == 0
        after = trainer.learner.network.decoder.state_dict()
        return config, before, after, trainer.progress.step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["grid", "detector"])
def test_training_starts_from_a_converted_run(detected, tmp_path, monkeypatch, kind, where):
    """Cross entropy, its continuation, and self-critical training: a few steps of each."""
    monkeypatch.setattr(sys, "argv", ["caption.train"])
    data = detected[where]
    words = DataFolder.open(data).labels.vocabulary.words
    run, _, _ = converted(tmp_path / kind, kind, words, 12)
    source = Captioner.load(run).decoder.state_dict()
    small = ("--data", data, "--epochs", 1, "--batch-size", 4, "--device", "cpu")
    out = tmp_path / "next"
    _, before, after, steps = trained(["--start", run, "--out", out, *small])
    assert steps == 2 and before.keys() == source.keys()
    assert all(torch.equal(before[name], source[name]) for name in source)
    assert any(not torch.equal(before[name], after[name]) for name in source)
    resumed = ["--out", out, "--resume", *small]
    resumed[resumed.index("--epochs") + 1] = 2
    assert trained(resumed)[3] == 4
    _, _, _, steps = trained(
        ["--start", run, "--preset", "scst", "--scst-samples", 2, "--out", tmp_path / "s", *small]
    )
    assert steps == 2
    assert Captioner.load(tmp_path / "s").decoder.shape == Captioner.load(run).decoder.shape
    trained(["--start", out, "--preset", "scst", "--out", tmp_path / "t", *small])


def test_features_of_another_size_are_refused(detected, tmp_path):
    data = DataFolder.open(detected["grid"])
    run, _, _ = converted(tmp_path / "x", "topdown", data.labels.vocabulary.words, 10)
    argv = ["--start", run, "--data", detected["grid"], "--out", tmp_path / "y"]
    config = presets.from_command_line([*map(str, argv)])
    with pytest.raises(ValueError, match="reads features of 10 numbers, .* has 12"):
        open_trainer(config, init_distributed("cpu"))
