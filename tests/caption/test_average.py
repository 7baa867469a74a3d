"""caption.average: the mean of weights; models that differ in more than weights are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from caption import average
from caption.captioner import Captioner
from caption.pretrained.model_format import read_header
from prepro.images import open_rgb


def changed(source: Path, path: Path, change, **header) -> Path:
    """A copy of a model file with other weights, or with other values in its header."""
    with safe_open(source, "pt") as file:
        about = file.metadata()
    tensors = {key: change(value) for key, value in load_file(source).items()}
    save_file(tensors, path, about | {key: json.dumps(value) for key, value in header.items()})
    return path


@pytest.fixture
def source(tiny, tmp_path):
    """A model file that holds its encoder."""
    from caption import export

    out = tmp_path / "source.safetensors"
    export.main(export.Options(out, tiny.runs["topdown"]))
    return out


def pair(source, folder):
    """Two models whose mean is `source`: one with 1.5 times its weights, one with half of them."""
    return tuple(
        changed(
            source, folder / f"{factor}.safetensors",
            lambda value, factor=factor: value * factor if value.is_floating_point() else value,
        )
        for factor in (1.5, 0.5)
    )  # fmt: skip


def test_the_mean_of_all_weights_is_written(source, tmp_path, tiny, capsys):
    out = tmp_path / "mean.safetensors"
    one, two = pair(source, tmp_path)
    average.main(average.Options((one, two), out))
    expected, found = load_file(source), load_file(out)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)
    assert capsys.readouterr().out.startswith(f"{out}: the mean of 2 models, ")
    header = read_header(out)
    assert header["run"]["averaged"] == [str(one), str(two)]
    assert "validation" not in header["run"] and header["encoder"]["weights"] == "average"
    captioner = Captioner.load(out)
    assert captioner.encoder.sha256 == header["encoder"]["sha256"]
    pictures = [open_rgb(path) for path in sorted((tiny.data / "images").iterdir())[:6]]
    assert captioner.sentences(pictures) == Captioner.load(source).sentences(pictures)


def test_the_encoders_alone(source, tmp_path):
    """The mean encoder, which is that of `source`, and the decoder of a third model."""
    out, third = tmp_path / "mean.safetensors", tmp_path / "third.safetensors"
    changed(source, third, lambda value: value * 0.9 if value.is_floating_point() else value)
    average.main(average.Options(pair(source, tmp_path), out, third))
    expected, other, found = load_file(source), load_file(third), load_file(out)
    for name, tensor in found.items():
        wanted = (other if name.startswith("decoder.") else expected)[name]
        torch.testing.assert_close(tensor, wanted, rtol=1e-6, atol=1e-7)
    assert Captioner.load(out).encoder.sha256 == read_header(out)["encoder"]["sha256"]


def test_three_states_by_hand():
    states = {
        str(x): {
            "w": torch.tensor([x, 1.0]),
            "h": torch.tensor([x]).half(),
            "n": torch.tensor(int(x)),
        }
        for x in (1.0, 2.0, 6.0)
    }
    found = average.mean(states)
    assert found["w"].tolist() == [3.0, 1.0] and found["h"].dtype == torch.float16
    assert found["h"].tolist() == [3.0] and found["n"].item() == 1
    states["2.0"]["h"][0] = float("nan")
    with pytest.raises(ValueError, match=r"2\.0: h is not finite; leave this run out"):
        average.mean(states)


def test_a_shared_encoder_stays_what_it_is(tiny, tmp_path):
    """That of the runs here; its classifier, too, and its hash."""
    one = tiny.runs["topdown"] / "model.safetensors"
    two = changed(one, tmp_path / "two.safetensors", torch.clone)
    average.main(average.Options((one, two), tmp_path / "new/mean.safetensors"))
    assert read_header(tmp_path / "new/mean.safetensors")["encoder"] == read_header(one)["encoder"]


def test_classifiers_of_several_sizes(source, tiny, tmp_path):
    """An exported model has a classifier of one class; the order of the runs does not matter."""
    run = tiny.runs["topdown"] / "model.safetensors"
    found = []
    for number, runs in enumerate(((source, run), (run, source))):
        out = tmp_path / f"{number}.safetensors"
        average.main(average.Options(runs, out))
        found.append(load_file(out))
    for name, tensor in found[0].items():
        assert torch.equal(tensor, found[1][name])


def test_features_of_another_system_have_no_encoder(tiny, tmp_path):
    """Decoders alone are averaged."""
    one = tiny.runs["topdown"] / "model.safetensors"
    encoder = read_header(one)["encoder"] | {"sha256": "", "public": True}
    runs = [
        changed(one, tmp_path / f"{i}.safetensors", torch.clone, encoder=encoder) for i in range(2)
    ]
    average.main(average.Options(tuple(runs), tmp_path / "mean.safetensors"))
    assert read_header(tmp_path / "mean.safetensors")["encoder"] == encoder


def test_runs_that_began_at_random_are_told(source, tmp_path, capsys):
    """Those of `tiny` have no --start."""
    average.main(average.Options(pair(source, tmp_path), tmp_path / "mean.safetensors"))
    assert "began from random weights; if these were not the same" in capsys.readouterr().err
    run = read_header(source)["run"]
    run["config"]["start"] = "runs/before"
    one, two = pair(source, tmp_path)
    started = changed(one, tmp_path / "started.safetensors", torch.clone, run=run)
    average.main(average.Options((started, two), tmp_path / "mean.safetensors"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize("what", ["decoder", "vocabulary", "regions"])
def test_models_that_differ_in_more_than_weights_are_refused(source, tmp_path, tiny, what):
    if what == "decoder":
        other = tiny.runs["att2in"]
    else:
        words = read_header(source)["words"]
        header = {"vocabulary": {"words": [*words[1:], words[0]]}, "regions": {"regions": 5}}[what]
        other = changed(source, tmp_path / "other.safetensors", torch.clone, **header)
    with pytest.raises(ValueError, match=f"differ in their {what}; only models"):
        average.main(average.Options((source, other), tmp_path / "mean.safetensors"))
    assert not (tmp_path / "mean.safetensors").exists()


def test_another_dropout_is_no_other_model(source, tmp_path):
    shape = read_header(source)["shape"] | {"dropout": 0.1}
    other = changed(source, tmp_path / "other.safetensors", torch.clone, shape=shape)
    average.main(average.Options((source, other), tmp_path / "mean.safetensors"))
    assert Captioner.load(tmp_path / "mean.safetensors").decoder.shape.dropout != 0.1


def test_options_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="--run: give two or more"):
        average.Options((Path("a"),), Path("b.safetensors"))
    with pytest.raises(ValueError, match="--out b: give a name.safetensors"):
        average.Options((Path("a"), Path("c")), Path("b"))
    with pytest.raises(ValueError, match="--run a: this run is given twice"):
        average.Options((Path("a"), Path("b"), Path("a")), Path("b.safetensors"))
    file = tmp_path / "c.safetensors"
    file.touch()
    for decoder in (None, file):
        out = decoder or Path("a/model.safetensors")
        with pytest.raises(ValueError, match=f"--out {out}: this is one of the models"):
            average.Options((Path("a"), Path("b")), out, decoder)
