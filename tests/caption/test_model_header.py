"""The header of model.safetensors: what comes back, and what a damaged one is told."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from caption.decoding.options import DecodeOptions
from caption.models import Shape, build
from caption.pretrained.model_format import HEADER, read_header, read_model, write_model

WORDS = ("a", "dog", "runs")
ENCODER = {"encoder": "x", "weights": "none", "sha256": "0" * 64, "public": False, "more": [1]}
RUN = {"config": {"data": "d", "hidden": 8}, "trained_on": "nothing"}


@pytest.fixture
def path(tmp_path):
    shape = Shape(4, features=5, embedding=8, hidden=8, heads=2)
    decoder, tensors = build("show_tell", shape), {"w": torch.ones(2)}
    write_model(
        tmp_path / "model.safetensors", decoder, WORDS, ENCODER, tensors, 3, DecodeOptions(), RUN
    )
    return tmp_path / "model.safetensors"


def change(path, edit, **tensors) -> None:
    """Write the file again after `edit` of its header's values; a tensor of None is left out."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    values = {key: json.loads(text) for key, text in metadata.items()}
    edit(values)
    found = {k: v for k, v in (found | tensors).items() if v is not None}
    save_file(found, path, {key: json.dumps(value) for key, value in values.items()})


def test_all_of_it_comes_back(path):
    header, decoder, encoder = read_model(path)
    with safe_open(path, "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F32"}  # noqa: SIM118
    assert (header["words"], header["encoder"], header["run"]) == (list(WORDS), ENCODER, RUN)
    assert (header["decoder"], header["regions"], header["version"]) == ("show_tell", 3, 1)
    assert encoder.keys() == {"w"} and all(t.dtype == torch.float32 for t in decoder.values())


@pytest.mark.parametrize("first", range(len(HEADER)))
def test_the_first_thing_that_is_missing_is_named(path, first):
    change(path, lambda values: [values.pop(key) for key in HEADER[first:]])
    with pytest.raises(ValueError, match=f"not a captioning model; .* lacks '{HEADER[first]}'"):
        read_header(path)


def put(part, key, value):
    return lambda values: values[part].update({key: value})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda values: values.update(version=2), "version 2, this code reads 1"),
        (lambda values: values.update(words=["a", "dog", "a"]), "a word twice"),
        (lambda values: values.update(words=["a", "dog"]), "2 words for 4 classes"),
        (lambda values: values.update(words=["a", "dog", "b", "c"]), "4 words for 4 classes"),
        (lambda values: values.update(words=["a", "dog", "\x1b[2J"]), "without control"),
        (lambda values: values.update(regions=-1), "regions"),
        *((put("shape", name, 0), f"{name}.*from 1") for name in ("hidden", "embedding", "layers")),
        *((put("shape", name, 0), f"{name}.*from 1") for name in ("heads", "features")),
        (put("shape", "classes", 1), "classes.*from 2"),
        *((put("shape", name, -1), f"{name}.* 0") for name in ("attention", "dropout", "norm_eps")),
        *((put("shape", name, -1), f"{name}.* 0") for name in ("regions", "position_std")),
        *((put("shape", name, -1), f"{name}.* 0") for name in ("decoder_layers", "feed_forward")),
        *((put("shape", name, 1.5), f"{name}.* 1$") for name in ("dropout", "norm_eps")),
        *((put("shape", name, 65_537), f"{name}.* 65,536") for name in ("features", "regions")),
        (put("shape", "position_std", 1000.5), "position_std.* 1000"),
        (put("encoder", "encoder", "x" * 201), "at most 200"),
        (put("encoder", "weights", "x" * 1001), "at most 1,?000"),
        (put("decoding", "sample", "x" * 101), "at most 100"),
        *((put("decoding", name, ["x" * 101]), "at most 100") for name in ("must", "never")),
        (lambda values: values.update(regions=257), "regions.* 256"),
        (lambda values: values.update(words=["a", "dog", "x" * 1001]), "at most 1,?000"),
        (put("encoder", "encoder", "x\n"), "without control"),
        (put("encoder", "weights", "x\x07"), "without control"),
        (put("encoder", "sha256", "0" * 65), "at most 64"),
        (put("decoding", "must", list("abcde")), "at most 4"),
    ],
)
def test_a_value_that_cannot_be_is_named(path, edit, said):
    change(path, edit)
    with pytest.raises(ValueError, match=said):
        read_header(path)


@pytest.mark.parametrize("name", ["attention", "norm_eps", "decoder_layers", "feed_forward"])
def test_sizes_that_a_decoder_lacks_are_zero_or_absent(path, name):
    change(path, put("shape", name, 0))
    assert read_header(path)["shape"][name] == 0
    change(path, lambda values: values["shape"].pop(name))
    assert name not in read_header(path)["shape"]


def test_four_words_may_be_asked_for(path):
    change(path, put("decoding", "must", list("abcd")))
    assert read_header(path)["decoding"]["must"] == list("abcd")


def test_weights_that_do_not_fit_the_sizes_are_named(path):
    data = path.read_bytes()
    bias, extra = "decoder.classify.bias", {"decoder.more": torch.ones(1)}
    for tensors, said in (
        ({bias: torch.ones(5)}, rf"{bias} has the sizes \[5\], expected \[4\]"),
        ({bias: None}, f"{bias} has the sizes None"),
        (extra | {"decoder.zzz": torch.ones(1)}, "unexpected decoder.more"),
    ):
        path.write_bytes(data)
        change(path, lambda values: None, **tensors)
        assert read_header(path)["words"] == list(WORDS)
        with pytest.raises(ValueError, match=said):
            read_model(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError):
        read_header(path)
