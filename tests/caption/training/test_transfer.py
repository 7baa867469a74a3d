"""--start with a model file: data of other words, and features that do not fit."""

import shutil
from dataclasses import replace

import pytest
import torch

from caption import presets
from caption.config import TrainConfig
from caption.training.setup import open_trainer
from prepro import features, labels
from prepro.runtime.distributed import init_distributed


@pytest.fixture
def other_words(tiny, tmp_path):
    """The pictures of the tiny run with one word more and one less."""
    data = tmp_path / "data"
    data.mkdir()
    text = (tiny.data / "annotations.json").read_text()
    (data / "annotations.json").write_text(text.replace("circle", "wheel"))
    shutil.copytree(tiny.data / "images", data / "images")
    labels.main(labels.Options((data / "annotations.json",), data, data, min_count=0))
    return data


def test_words_that_both_know_keep_their_weights(tiny, other_words, tmp_path):
    features.main(features.Options(other_words, "resnet10-w8", "none", workers=0, device="cpu"))
    model = tiny.captioner("topdown")
    argv = ["--start", str(model.path), "--data", str(other_words), "--out", str(tmp_path / "run")]
    config = presets.from_command_line(argv)
    assert (config.decoder, config.hidden, config.data) == ("topdown", 16, other_words)
    with open_trainer(config, init_distributed("cpu")) as trainer:
        decoder, words = trainer.learner.network.decoder, trainer.data.labels.vocabulary.words
        for new, word in enumerate(words, 1):
            if word not in model.vocabulary.words:
                assert "wheel" in word
                continue
            old = model.vocabulary.words.index(word) + 1
            assert torch.equal(decoder.embed.weight[new], model.decoder.embed.weight[old])
            assert torch.equal(decoder.classify.weight[new], model.decoder.classify.weight[old])
        assert torch.equal(decoder.pos_embed, model.decoder.pos_embed)
        for name in ("embed.weight", "classify.weight", "classify.bias"):  # row 0: start and end
            one, other = (d.get_parameter(name)[0] for d in (decoder, model.decoder))
            assert torch.equal(one, other)
        with pytest.raises(ValueError, match="--hidden"):
            open_trainer(replace(config, hidden=9, out=tmp_path / "two"), init_distributed("cpu"))


def test_features_of_another_encoder_are_refused(tiny, other_words, tmp_path):
    features.main(features.Options(other_words, "resnet10-w4", "none", workers=0, device="cpu"))
    path = tiny.runs["topdown"] / "model.safetensors"
    config = TrainConfig(
        data=other_words,
        out=tmp_path / "run",
        start=path,
        decoder="topdown",
        hidden=16,
        embedding=16,
    )
    with pytest.raises(ValueError, match=r"--encoder resnet10-w8 --weights .*--regions 7"):
        open_trainer(config, init_distributed("cpu"))


def test_the_average_and_the_encoder_begin_with_the_model_too(tiny, tmp_path):
    model = tiny.captioner("topdown")
    config = TrainConfig(
        data=tiny.data, out=tmp_path / "run", start=model.path, decoder="topdown", hidden=16,
        embedding=16, ema=0.9, finetune_after=0, device="cpu",
    )  # fmt: skip
    with open_trainer(config, init_distributed("cpu")) as trainer:
        learner = trainer.learner
        for name, tensor in model.decoder.state_dict().items():
            assert torch.equal(learner.eval_model.decoder.state_dict()[name], tensor), name
        assert learner.eval_model.encoder is not None
        groups = [group["name"] for group in learner.optimizer.param_groups]
        assert groups == ["decoder", "encoder"]
