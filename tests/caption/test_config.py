"""The config: one object for command line, file and checkpoint; presets; mistakes cost a line."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from caption.config import PRESETS, TrainConfig, from_command_line
from caption.stages import Stage, due, stages


@pytest.mark.parametrize("name", PRESETS)
def test_json_and_back(name):
    config = PRESETS[name]()
    assert TrainConfig.from_dict(json.loads(config.to_json()), "config.json") == config


def test_defaults_are_the_fields():
    """Those of self-critical.pytorch's configs and of neuraltalk2 (captioning.md's table 1b)."""
    config = TrainConfig()
    assert (config.hidden, config.embedding, config.dropout) == (512, 512, 0.5)
    assert (config.learning_rate, config.decay_rate, config.decay_every) == (5e-4, 0.8, 3)
    assert (config.batch_size, config.captions_per_image) == (10, 5)
    assert (config.clip, config.clip_mode, config.encoder_learning_rate) == (0.1, "value", 1e-5)


def test_flags_change_a_preset():
    config = from_command_line(["--preset", "topdown", "--data", "x", "--hidden", "64"])
    assert config == replace(PRESETS["topdown"](), data=Path("x"), hidden=64)


def test_the_embedded_data_set_has_its_own_defaults():
    assert from_command_line([]) == PRESETS["scenes"]()
    assert from_command_line(["--data", "x"]) == TrainConfig(data=Path("x"))


def test_resume_starts_from_the_runs_own_config(tmp_path):
    mine = TrainConfig(out=tmp_path, hidden=77, epochs=5)
    (tmp_path / "config.json").write_text(mine.to_json())
    found = from_command_line(["--out", str(tmp_path), "--resume", "--epochs", "9"])
    assert found == replace(mine, resume=True, epochs=9)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rte": 1}, "learning_rate"),
        ({"decoder": "topdwn"}, "topdown"),
        ({"hidden": 1.5}, "hidden is 1.5"),
        ({"hidden": True}, "hidden is True"),
        ({"resume": "yes"}, "resume is 'yes'"),
        ({"dropout": "0.5"}, "dropout is '0.5'"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"finetune_after": -2}, "--finetune-after -2"),
    ],
)
def test_mistakes_are_named(values, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig.from_dict(values, "config.json")


def test_a_checkpoint_of_another_kind_is_refused():
    config = TrainConfig()
    config.require_same(replace(config, epochs=99, learning_rate=1.0, device="cpu"))
    with pytest.raises(ValueError, match="--hidden 64, not 512"):
        config.require_same(replace(config, hidden=64))


def test_a_config_has_a_manageable_number_of_flags():
    assert len(fields(TrainConfig)) <= 32


def test_stages():
    assert stages(TrainConfig()) == [Stage("frozen", 0)]
    assert stages(TrainConfig(finetune_after=0)) == [Stage("finetune", 0)]
    assert stages(TrainConfig(finetune_after=3)) == [Stage("frozen", 0), Stage("finetune", 3)]


def test_a_stage_begins_at_its_epoch_or_when_patience_is_out():
    config = TrainConfig(finetune_after=3, patience=2)
    assert [due(config, 0, epoch, 0) for epoch in range(5)] == [0, 0, 0, 1, 1]
    assert due(config, 0, 1, 2) == 1, "patience ends the first stage, not the training"
    assert due(config, 1, 2, 0) == 1, "and there is no way back"
    assert due(config, 1, 9, 2) is None
    assert due(replace(config, patience=0), 1, 9, 50) == 1
