"""Converted checkpoints of every size compute what their state dict computes."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from caption import convert
from caption.captioner import Captioner
from caption.conversion.checkpoint import read_checkpoint
from caption.conversion.restricted_pickle import load_infos
from caption.models import Features
from eval import command
from tests.caption.conversion.checkpoint_files import NEWER, vocabulary, write
from tests.caption.conversion.earlier_models import Sizes, linear, log_probs, random_weights

CASES = [
    *(("adaatt", Sizes(use_bn=bn)) for bn in (0, 1, 2)),
    *((kind, Sizes(use_bn=bn, attention=a, embedding=e))
      for kind in ("att2in2", "topdown") for bn, a, e in ((0, 3, 8), (1, 20, 12), (2, 5, 6))),
    *(("att2in", Sizes(attention=a)) for a in (3, 20)),
    ("transformer", Sizes(use_bn=2)),
    ("transformer", Sizes(use_bn=1, heads=1, d_ff=7, n_enc=1, n_dec=3)),
    ("transformer", Sizes(heads=4, d_ff=40, n_enc=3, n_dec=1)),
]  # fmt: skip


def inputs(sizes, dtype=torch.float32):
    fc, att = torch.randn(3, sizes.features), torch.randn(3, 5, sizes.features)
    mask = torch.arange(5) < torch.tensor([[5], [4], [2]])
    words = torch.randint(1, sizes.words + 1, (3, 2, 6))
    words[..., 0] = 0
    return fc.to(dtype), att.to(dtype), mask, words


@pytest.mark.parametrize(("kind", "sizes"), CASES)
def test_double_precision_is_exact(tmp_path, kind, sizes):
    torch.manual_seed(0)
    weights = random_weights(kind, sizes)
    found = read_checkpoint(*write(tmp_path, kind, sizes, weights), torch.float64)
    doubles = {name: value.double() for name, value in weights.items()}
    fc, att, mask, words = inputs(sizes, torch.float64)
    expected = log_probs(kind, doubles, sizes, fc, att, mask, words)
    with torch.no_grad():
        ours = found.decoder(Features(fc, att, mask), words)
    assert (ours - expected).abs().max() < 1e-9
    assert expected.std() > 0.3  # the weights tell something


@pytest.mark.parametrize("unk", [True, False])
@pytest.mark.parametrize("lacking", [(), NEWER])
@pytest.mark.parametrize("kind", ["adaatt", "att2in2", "topdown", "transformer"])
def test_the_command_with_older_options_and_other_words(tmp_path, kind, unk, lacking):
    torch.manual_seed(1)
    sizes = Sizes()
    weights = random_weights(kind, sizes)
    model, infos = write(tmp_path, kind, sizes, weights, vocabulary(sizes, unk), lacking)
    words = ["--checkpoint", model, "--infos", infos, "--out", tmp_path / "run"]
    assert command.run(convert.Options, convert.main, list(map(str, words))) == 0
    captioner = Captioner.load(tmp_path / "run")
    assert captioner.decoding.suppress_unk == unk
    assert captioner.decoding.max_length == (16 if lacking else 20)
    fc, att, mask, tokens = inputs(sizes)
    expected = log_probs(kind, weights, sizes, fc, att, mask, tokens)
    assert (captioner.log_probs(tokens, fc, att, mask) - expected).abs().max() < 2e-5


def test_adaatt_that_was_saved_is_read_again(tmp_path):
    """The fields of the shape are in the file; without them a decoder is as before."""
    torch.manual_seed(2)
    sizes = Sizes(use_bn=2)
    model, infos = write(tmp_path, "adaatt", sizes, random_weights("adaatt", sizes))
    words = ["--checkpoint", model, "--infos", infos, "--out", tmp_path / "run"]
    assert command.run(convert.Options, convert.main, list(map(str, words))) == 0
    shape = Captioner.load(tmp_path / "run").decoder.shape
    assert shape.sentinel_layers and shape.region_projection == "affine"
    plain = {name for name, _ in _adaptive(shape, False).named_parameters()}
    extra = {name for name, _ in _adaptive(shape, True).named_parameters()} - plain
    parts = ("sentinel_layer", "hidden_layer", "merge")
    assert extra == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")} | {
        "region_scale", "region_shift",
    }  # fmt: skip


@pytest.mark.parametrize("use_bn", [0, 2])
def test_adaatt_step_by_step_is_adaatt_at_once(tmp_path, use_bn):
    torch.manual_seed(3)
    sizes = Sizes(use_bn=use_bn)
    files = write(tmp_path, "adaatt", sizes, random_weights("adaatt", sizes))
    decoder = read_checkpoint(*files).decoder
    fc, att, mask, words = inputs(sizes)
    state = decoder.begin(Features(fc, att, mask)).expand(2)
    steps = []
    for column in words.unbind(2):
        step = decoder.step(column, state)
        state = step.state
        steps.append(step.log_probs)
        assert torch.allclose(step.attention.sum(-1), torch.ones(3, 2), atol=1e-6)
    assert torch.allclose(torch.stack(steps, 2), decoder(Features(fc, att, mask), words), atol=1e-5)
    decoder.train()(Features(fc, att, mask), words).sum().backward()
    assert all(weight.grad is not None for weight in decoder.parameters())


def _adaptive(shape, layers):
    from caption import models

    projection = "affine" if layers else ""
    return models.build(
        "adaptive", replace(shape, sentinel_layers=layers, region_projection=projection)
    )


def test_adaatt_of_two_lstm_layers_is_refused_in_a_line(tmp_path, capsys):
    sizes = Sizes()
    weights = random_weights("adaatt", sizes)
    for part in ("r_w2h", "r_v2h"):
        weights = {n: v for n, v in weights.items() if f".{part}." not in n}
    model, infos = write(tmp_path, "adaatt", sizes, weights)
    words = ["--checkpoint", model, "--infos", infos, "--out", tmp_path / "run"]
    assert command.run(convert.Options, convert.main, list(map(str, words))) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "several layers has no counterpart" in said


def test_what_its_loader_did_to_features_is_said(tmp_path, capsys):
    sizes = Sizes()
    model, infos = write(tmp_path, "att2in2", sizes, random_weights("att2in2", sizes))
    values = load_infos(infos)
    values["opt"].norm_att_feat = 1
    infos.write_bytes(pickle.dumps(values, protocol=2))
    words = ["--checkpoint", model, "--infos", infos, "--out", tmp_path / "run"]
    assert command.run(convert.Options, convert.main, list(map(str, words))) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'run' / 'model.safetensors'}: att2in2 as att2in, 13 words\n"
    assert len(err.splitlines()) == 1 and "divide each region by its length" in err
    assert command.run(convert.Options, convert.main, list(map(str, words))) == 2
    assert f"--out {tmp_path / 'run'}: holds a model already" in capsys.readouterr().err


def test_without_options_they_are_that_systems_defaults(tmp_path):
    """opts.py of self-critical.pytorch; 16 words are those of its cocotalk_label.h5."""
    sizes = Sizes(embedding=512, hidden=512, features=2048)
    lacking = (
        *NEWER, "input_encoding_size", "rnn_size", "num_layers", "drop_prob_lm", "seq_length",
        "fc_feat_size", "att_feat_size",
    )  # fmt: skip
    files = write(tmp_path, "att2in2", sizes, random_weights("att2in2", sizes), lacking=lacking)
    found = read_checkpoint(*files)
    shape = found.decoder.shape
    assert (shape.embedding, shape.hidden, shape.features, shape.layers) == (512, 512, 2048, 1)
    assert shape.dropout == 0.5 and found.decoding.max_length == 16 and found.notes == ()


def test_a_transformer_without_the_option_has_eight_heads(tmp_path):
    """Vaswani et al. 2017"""
    sizes = Sizes(embedding=16, hidden=16, heads=8)
    weights = random_weights("transformer", sizes)
    files = write(tmp_path, "transformer", sizes, weights, lacking=("num_att_heads",))
    assert read_checkpoint(*files).decoder.shape.heads == 8


def test_a_model_without_attention_reads_the_pooled_features(tmp_path):
    """Its file asks for no regions, and the other size is not looked at."""
    sizes = Sizes()
    weights = {"embed.weight": torch.randn(sizes.words + 1, 8)}
    for name, inputs, outputs in (
        ("img_embed", 10, 8), ("core.i2h", 8, 40), ("core.h2h", 8, 40), ("logit", 8, 14),
    ):  # fmt: skip
        linear(weights, name, inputs, outputs)
    for kind, other in (("fc", "att"), ("topdown", "fc")):
        folder = tmp_path / kind
        folder.mkdir()
        weights = weights if kind == "fc" else random_weights(kind, sizes)
        model, infos = write(folder, kind, sizes, weights, lacking=[f"{other}_feat_size"])
        words = ["--checkpoint", model, "--infos", infos, "--out", folder / "run"]
        assert command.run(convert.Options, convert.main, list(map(str, words))) == 0
        captioner = Captioner.load(folder / "run")
        assert captioner.decoder.shape.features == 10
        assert captioner.regions == (0 if kind == "fc" else 14)
        assert not captioner.encoder_info["public"]
        config = json.loads((folder / "run" / "config.json").read_text())
        assert config == captioner.run["config"] and not config["positions"]
