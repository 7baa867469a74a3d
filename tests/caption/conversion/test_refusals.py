"""caption.convert with hostile, damaged and unknown checkpoints: one line, and nothing is run."""

import argparse
import os
import pickle

import pytest
import torch

from caption import convert
from caption.conversion.restricted_pickle import load_infos
from eval import command

VOCABULARY = {"1": "a", "2": "dog", "3": "UNK"}


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def write(folder, infos, weights):
    torch.save(weights, folder / "model.pth")
    (folder / "infos.pkl").write_bytes(pickle.dumps(infos, protocol=2))
    words = ["--checkpoint", folder / "model.pth", "--infos", folder / "infos.pkl"]
    return [*map(str, words), "--out", str(folder / "run")]


def options(**values):
    return argparse.Namespace(**{"rnn_size": 4, "input_encoding_size": 4, **values})


def refusal(capsys, words) -> str:
    assert command.run(convert.Options, convert.main, words) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.parametrize("place", ["opt", "vocab", "more"])
def test_an_evil_pickle_does_nothing(tmp_path, capsys, place):
    made = tmp_path / "made"
    infos = {"opt": options(), "vocab": VOCABULARY, place: Evil(made)}
    assert "names posix.mkdir" in refusal(capsys, write(tmp_path, infos, {}))
    assert not made.exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["aoa", "stackatt", "denseatt", "m2transformer", "bert", ""])
def test_a_model_without_a_counterpart_is_named(tmp_path, capsys, name):
    infos = {"opt": options(caption_model=name), "vocab": VOCABULARY}
    assert f"the model {name!r} has no counterpart" in refusal(capsys, write(tmp_path, infos, {}))


@pytest.mark.parametrize(
    "kind", ["newfc", "show_tell", "att2in2", "att2in", "topdown", "transformer"]
)
def test_weights_of_another_model_are_refused(tmp_path, capsys, kind):
    infos = {"opt": options(caption_model=kind), "vocab": VOCABULARY}
    assert "model.pth" in refusal(capsys, write(tmp_path, infos, {"x": torch.ones(2)}))


@pytest.mark.parametrize("vocabulary", [None, {}, {"1": "a", "3": "b"}, {"1": 7}, ["a"]])
def test_a_vocabulary_with_gaps_is_refused(tmp_path, capsys, vocabulary):
    infos = {"opt": options(caption_model="newfc"), "vocab": vocabulary}
    assert "vocabulary" in refusal(capsys, write(tmp_path, infos, {}))


@pytest.mark.parametrize("value", [0, -1, 10**9, "many", None.__class__])
def test_sizes_have_bounds(tmp_path, capsys, value):
    weights = {f"{n}.{k}": torch.ones(4, 4) if k == "weight" else torch.ones(4)
               for n in ("embed", "fc_embed", "logit", "_core.i2h", "_core.h2h")
               for k in ("weight", "bias")}  # fmt: skip
    if isinstance(value, type):
        value = 1.5
    infos = {"opt": options(caption_model="newfc", rnn_size=value), "vocab": VOCABULARY}
    refusal(capsys, write(tmp_path, infos, weights))


def test_a_damaged_pickle_is_refused(tmp_path):
    path = tmp_path / "infos.pkl"
    whole = pickle.dumps({"opt": options(), "vocab": VOCABULARY}, protocol=2)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not an infos pickle"):
            load_infos(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="no opt"):
        load_infos(path)


def test_numpy_scalars_and_default_dictionaries_are_opened(tmp_path):
    from collections import defaultdict

    import numpy as np

    infos = {"opt": options(lr=np.float64(0.5)), "history": defaultdict(dict, a={"b": 1})}
    path = tmp_path / "infos.pkl"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(infos, protocol=protocol))
        found = load_infos(path)
        assert found["opt"].lr == 0.5 and found["history"]["a"] == {"b": 1}
