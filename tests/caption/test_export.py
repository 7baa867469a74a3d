"""caption.export, and the models that a name finds."""

import json
from pathlib import Path

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
    assert not encoder["public"]
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


def test_what_is_written_and_its_size_are_printed(tiny, tmp_path, monkeypatch, capsys):
    """Weights in .onnx are float32, with --web float16, unless --storage says otherwise."""
    given = []

    def export_folder(captioner, out, form, storage, page):
        given.append((form, storage, page is not None))
        (out / "page").mkdir(parents=True)
        (out / "step.onnx").write_bytes(bytes(1_230_000))
        (out / "page" / "index.html").write_bytes(bytes(20_000))

    monkeypatch.setattr("caption.onnx.export.export_folder", export_folder)
    monkeypatch.setattr("caption.onnx.check.check", lambda _, *folders: f"{folders}")
    for i, options in enumerate(
        (
            {},
            {"web": True},
            {"web": True, "storage": "int8"},
            {"format": "pt2"},
            {"check": tmp_path},
        )
    ):
        out = tmp_path / str(i)
        export.main(export.Options(out, tiny.runs["newfc"], **options))
        lines = [f"{out}/page/index.html: 0.02 MB", f"{out}/step.onnx: 1.23 MB"]
        checked = [f"{(out, tmp_path)}"] if "check" in options else []
        assert capsys.readouterr().out.splitlines() == lines + checked
    assert given == [
        ("onnx", "float32", False), ("onnx", "float16", True), ("onnx", "int8", True),
        ("pt2", "float32", False), ("onnx", "float32", False),
    ]  # fmt: skip
    monkeypatch.setattr(export, "write_file", lambda _, out, __: out.write_bytes(bytes(2_340_000)))
    export.main(export.Options(tmp_path / "x.safetensors", tiny.runs["newfc"]))
    assert capsys.readouterr().out == f"{tmp_path / 'x.safetensors'}: 2.3 MB\n"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("x.onnx", {}, "give a name.safetensors, or a folder"),
        ("x", {"halves": True}, "a folder takes --storage float16"),
        ("x.safetensors", {"web": True}, "--web needs"),
        ("x", {"web": True, "format": "pt2"}, "--web needs"),
        ("x", {"runtime": Path()}, "--runtime needs --web"),
        ("x.safetensors", {"check": Path()}, "--check needs"),
        ("x", {"check": Path(), "format": "pt2"}, "--check needs"),
        ("x.safetensors", {"halves": True}, ""), ("x.safetensors", {"format": "pt2"}, ""),
        ("x", {"web": True, "runtime": Path(), "check": Path()}, ""), ("x", {"format": "pt2"}, ""),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_named(name, options, said):
    if said:
        with pytest.raises(ValueError, match=said):
            export.Options(Path(name), **options)
    else:
        assert export.Options(Path(name), **options).out == Path(name)


def test_what_float16_cannot_hold_stays_as_it_is():
    assert as_half(torch.tensor([1e5, 1.0])).dtype == torch.float32
    assert as_half(torch.tensor([3])).dtype == torch.int64
    assert as_half(torch.tensor([0.1])).dtype == torch.float16


def test_what_run_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    box = tmp_path / "box" / "flickr8k.safetensors"
    monkeypatch.setattr(pretrained, "MODELS", {"flickr8k": box})
    assert model_file() == box and model_name(box) == "flickr8k"
    assert model_name(Path("runs/a/model.safetensors")) == "runs/a"
    assert model_name(Path("a/dog.safetensors")) == "a/dog.safetensors"
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
