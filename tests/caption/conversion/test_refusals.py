"""caption.convert with hostile, damaged and unknown checkpoints: one line, and nothing is run."""

import argparse
import os
import pickle

import pytest
import torch

from caption import convert
from caption.config import RANGES
from caption.conversion.checkpoint import read_checkpoint
from caption.conversion.restricted_pickle import LIMIT, load_infos
from eval import command
from tests.caption.conversion.checkpoint_files import write as write_model
from tests.caption.conversion.earlier_models import Sizes, random_weights

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


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("vocabulary", [None, {}, {"1": "a", "3": "b"}, {"1": 7}, {"1": ""}, ["a"]])
def test_a_vocabulary_with_gaps_is_refused(tmp_path, capsys, vocabulary, older):
    """Older files keep it among the options."""
    opt = options(caption_model="newfc", **({"vocab": vocabulary} if older else {}))
    infos = {"opt": opt} if older else {"opt": opt, "vocab": vocabulary}
    said = refusal(capsys, write(tmp_path, infos, {}))
    assert ": has no vocabulary" in said or ": its vocabulary is not" in said


@pytest.mark.parametrize("value", [0, -1, 10**9, "many", None.__class__])
def test_sizes_have_bounds(tmp_path, capsys, value):
    weights = {f"{n}.{k}": torch.ones(4, 4) if k == "weight" else torch.ones(4)
               for n in ("embed", "fc_embed", "logit", "_core.i2h", "_core.h2h")
               for k in ("weight", "bias")}  # fmt: skip
    if isinstance(value, type):
        value = 1.5
    infos = {"opt": options(caption_model="newfc", rnn_size=value), "vocab": VOCABULARY}
    said = f"the option hidden is {value!r}, expected 1 to 16384"  # as --hidden of caption.train
    assert said in refusal(capsys, write(tmp_path, infos, weights))


def test_the_largest_number_of_heads_is_that_of_training(tmp_path, capsys):
    """RANGES allows 1024, which do not divide these 8 numbers; 1025 are refused as such."""
    most = RANGES["heads"][1]
    for heads, said in ((most, "does not fit the options"), (most + 1, "the option heads is 1025")):
        sizes = Sizes(heads=heads)
        files = write_model(tmp_path, "transformer", sizes, random_weights("transformer", sizes))
        with pytest.raises(ValueError, match=said):
            read_checkpoint(*files)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"), (b"", "not a state dict"), (b"<html>\n" * 9, "not a state dict"),
        ({"x": 1}, "not a state dict of tensors"), (torch.ones(2), "not a state dict of tensors"),
        ([torch.ones(2)], "not a state dict of tensors"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict_is_refused(tmp_path, capsys, content, said):
    infos = {"opt": options(caption_model="newfc"), "vocab": VOCABULARY}
    words = write(tmp_path, infos, content)
    if content is None:
        (tmp_path / "model.pth").unlink()
    elif isinstance(content, bytes):
        (tmp_path / "model.pth").write_bytes(content)
    assert f"model.pth: {said}" in refusal(capsys, words)


def test_an_evil_state_dict_does_nothing(tmp_path, capsys):
    infos = {"opt": options(caption_model="newfc"), "vocab": VOCABULARY}
    words = write(tmp_path, infos, {"x": Evil(tmp_path / "made")})
    assert "not a state dict (Weights only load failed" in refusal(capsys, words)
    assert not (tmp_path / "made").exists()


def test_a_damaged_pickle_is_refused(tmp_path):
    path = tmp_path / "infos.pkl"
    whole = pickle.dumps({"opt": options(), "vocab": VOCABULARY}, protocol=2)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not an infos pickle"):
            load_infos(path)
    for value in ([1, 2], {"vocab": VOCABULARY}, {"opt": {"rnn_size": 4}}):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(ValueError, match="no opt"):
            load_infos(path)


def test_a_pickle_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "infos.pkl"
    for more, said in ((0, "not an infos pickle"), (1, f"{LIMIT + 1:,} bytes, more than")):
        with open(path, "wb") as file:
            file.truncate(LIMIT + more)
        with pytest.raises(ValueError, match=said):
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
