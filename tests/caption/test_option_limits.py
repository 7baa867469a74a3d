"""The limits of a training run's options: what is allowed, refused, and written to a model file."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from caption.config import RANGES, TrainConfig
from caption.presets import PRESETS
from caption.pretrained import MODELS, model_format

SIZES = ("hidden", "embedding", "layers", "heads", "attention", "decoder_layers", "feed_forward")
SHAPE = {**model_format._SHAPE, **model_format._MORE_SHAPE}
NONE = (
    "warmup", "decay_every", "clip", "ema", "patience", "label_smoothing", "scheduled_sampling",
    "weight_decay", "scst_bleu", "scst_cross_entropy", "dropout", "encoder_learning_rate",
    "learning_rate", "decay_rate", "position_std", "norm_eps", "attention", "decoder_layers",
    "feed_forward", "workers", "seed", "scst_learning_rate",
)  # fmt: skip
"""options that may be 0, of which --help says what that means"""
COUNTS = (
    "epochs", "batch_size", "captions_per_image", "hidden", "embedding", "layers", "heads",
    "accumulate", "finetune_layers",
)  # fmt: skip
NEVER = ("finetune_after", "scst_after")
SHARES = ("dropout", "label_smoothing", "ema", "scst_cross_entropy")
"""probabilities and weights of averages: 1 would leave nothing of the rest"""


@pytest.mark.parametrize(
    ("names", "least", "below"), [(NONE, 0, -1), (COUNTS, 1, 0), (NEVER, -1, -2)]
)
def test_the_least_value_is_allowed_and_one_below_it_is_not(names, least, below):
    for name in names:
        assert getattr(TrainConfig(**{name: least}), name) == least
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} {below}: expected"):
            TrainConfig(**{name: below})


def test_a_share_is_below_one_and_a_probability_at_most_one():
    for name in SHARES:
        assert getattr(TrainConfig(**{name: 0.99}), name) == 0.99
        with pytest.raises(ValueError, match=f"{name.replace('_', '-')} 1"):
            TrainConfig(**{name: 1})
    for name in ("scheduled_sampling", "decay_rate"):
        assert getattr(TrainConfig(**{name: 1}), name) == 1
        with pytest.raises(ValueError):
            TrainConfig(**{name: 1.1})


def test_a_seed_is_one_that_numpy_takes():
    most = TrainConfig(seed=2**32 - 1).seed
    np.random.seed(most)
    for seed in (most + 1, -1):
        with pytest.raises(ValueError):
            np.random.seed(seed)
        with pytest.raises(ValueError, match="--seed .* expected 0 to 4294967295"):
            TrainConfig(seed=seed)


def test_one_sample_needs_the_greedy_baseline():
    assert TrainConfig(scst_samples=1, scst_baseline="greedy").scst_samples == 1
    assert TrainConfig(scst_samples=2).scst_samples == 2
    with pytest.raises(ValueError, match="--scst-samples 0: expected 1"):
        TrainConfig(scst_samples=0, scst_baseline="greedy")


def test_a_model_file_holds_the_sizes_that_a_run_may_have():
    for name in SIZES:
        _, most = RANGES[name]
        SHAPE[name](most, "file")
        assert getattr(TrainConfig(**{name: most}), name) == most
        with pytest.raises(ValueError):
            SHAPE[name](most + 1, "file")
        with pytest.raises(ValueError, match=f"expected . to {most}"):
            TrainConfig(**{name: most + 1})
    for name in ("dropout", "norm_eps", "position_std"):
        SHAPE[name](float(RANGES[name][1]), "file")


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TrainConfig().hidden = 3


def test_what_is_an_extra_is_off_by_default():
    config = TrainConfig()
    off = (
        "resume", "sentinel_layers", "warmup", "weight_decay", "label_smoothing", "ema",
        "scheduled_sampling", "patience", "scst_bleu", "scst_cross_entropy", "save_memory",
        "attention", "decoder_layers", "feed_forward",
    )  # fmt: skip
    assert not any(getattr(config, name) for name in off) and config.positions
    assert (config.finetune_after, config.scst_after) == (-1, -1)
    assert (config.accumulate, config.layers, config.heads, config.epochs) == (1, 1, 8, 30)
    assert 1 <= config.workers <= 256


def test_presets_have_the_sizes_of_their_papers():
    """Anderson et al. 2018, and the configs of self-critical.pytorch."""
    top, six = PRESETS["topdown"](), PRESETS["transformer"]()
    assert (top.hidden, top.embedding) == (1000, 1000)
    assert [PRESETS[name]().learning_rate for name in ("att2in", "topdown", "transformer")] == [
        5e-4
    ] * 3
    assert (six.layers, six.hidden, six.heads, six.dropout) == (6, 512, 8, 0.1)
    assert (six.warmup, six.decay_every, six.label_smoothing) == (20_000, 0, 0.1)


def test_the_preset_of_the_benchmark_is_that_of_its_table():
    """BENCHMARKS.md, "Real photographs": Top-Down with 304 units, six epochs."""
    photographs = PRESETS["photographs"]()
    assert (photographs.decoder, photographs.hidden, photographs.epochs) == ("topdown", 304, 6)


def test_the_model_in_the_box_was_trained_with_the_preset():
    """Its stages kept these options; BENCHMARKS.md has those that they changed."""
    header = model_format.read_header(MODELS["flickr8k"])
    trained = TrainConfig.from_dict(header["run"]["config"], "flickr8k")
    same = (
        "decoder", "hidden", "embedding", "dropout", "clip", "clip_mode", "ema",
        "captions_per_image", "label_smoothing", "position_std", "scst_samples", "scst_baseline",
        "norm_eps", "positions",
    )  # fmt: skip
    PRESETS["photographs"]().require_same(trained, MODELS["flickr8k"], same)
    # those of the second fine-tuning in BENCHMARKS.md, which the last stage kept
    assert (trained.decay_every, trained.decay_rate, trained.seed) == (1, 0.4, 1)


def test_self_critical_training_keeps_the_options_of_its_run():
    run = replace(TrainConfig(), hidden=64, learning_rate=1e-3, out=Path("x"), epochs=3)
    made = PRESETS["scst"](run)
    assert made == replace(run, scst_after=0, epochs=made.epochs) and made.epochs == 20
