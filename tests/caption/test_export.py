"""caption.export, and the models that a name finds."""

import json

import pytest
import torch

from caption import export, pretrained
from caption.captioner import SCENE_WORDS, Captioner
from caption.pretrained import model_file, model_name
from caption.pretrained.model_format import as_half, read_header
from prepro.encoders import create_encoder
from prepro.images import open_rgb


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "halves"])
def exported(request, tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "captioner.safetensors"
    export.main(export.Options(out, tiny.runs["topdown"], halves=request.param, trained_on="toys"))
    return out


def test_the_file_captions_as_the_run_does(exported, tiny):
    pictures = [open_rgb(path) for path in sorted((tiny.data / "images").iterdir())[:6]]
    captioner = Captioner.load(exported)
    assert captioner.sentences(pictures) == tiny.captioner().sentences(pictures)
    assert captioner.description.startswith(f"{exported} (topdown, trained on toys")
    assert captioner.encoder.network.get_submodule(captioner.encoder.network.classifier)


def test_the_hash_is_that_of_the_stored_encoder(exported):
    encoder = read_header(exported)["encoder"]
    assert Captioner.load(exported).encoder.sha256 == encoder["sha256"]
    assert create_encoder("resnet10-w8", str(exported)).sha256 == encoder["sha256"]


def test_halves_take_half_the_space(tiny, tmp_path):
    sizes = []
    for halves in (False, True):
        out = tmp_path / f"{halves}.safetensors"
        export.main(export.Options(out, tiny.runs["topdown"], halves=halves))
        header = int.from_bytes(out.read_bytes()[:8], "little")
        sizes.append(out.stat().st_size - header)
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.02)


def test_what_float16_cannot_hold_stays_as_it_is():
    assert as_half(torch.tensor([1e5, 1.0])).dtype == torch.float32
    assert as_half(torch.tensor([3])).dtype == torch.int64
    assert as_half(torch.tensor([0.1])).dtype == torch.float16


def test_what_run_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = tmp_path / "box" / "flickr8k.safetensors"
    monkeypatch.setattr(pretrained, "MODELS", {"flickr8k": box})
    assert model_file() == box and model_name(box) == "flickr8k"
    assert model_file("flickr8k") == box
    latest = tmp_path / "runs" / "latest"
    latest.mkdir(parents=True)
    assert model_file().resolve() == latest / "model.safetensors"
    (tmp_path / "flickr8k").mkdir()  # a folder of that name is meant
    assert model_file("flickr8k").name == "model.safetensors"


def test_a_model_of_drawn_shapes_is_marked(tiny):
    texts = json.loads((tiny.data / "annotations.json").read_text())["annotations"]
    words = {word for text in texts for word in text["caption"].lower().strip(".").split()}
    assert words <= SCENE_WORDS
    assert "cannot describe photographs" in tiny.captioner().description
