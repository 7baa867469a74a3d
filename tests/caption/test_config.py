"""The config: one object for command line, file and checkpoint; presets; mistakes cost a line."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from caption.config import LASTING, RANGES, SIZES, TrainConfig
from caption.presets import PRESETS, RARE, from_command_line
from caption.training.progress import Progress
from caption.training.stages import next_stage


@pytest.mark.parametrize("name", PRESETS)
def test_json_and_back(name):
    config = PRESETS[name]()
    assert TrainConfig.from_dict(json.loads(config.to_json()), "config.json") == config


def test_defaults_are_the_fields():
    """Those of self-critical.pytorch's configs and of neuraltalk2 (captioning.md's table 1b)."""
    config = TrainConfig()
    assert (config.decoder, config.hidden, config.embedding) == ("show_tell", 512, 512)
    assert (config.dropout, config.scst_learning_rate, config.scst_samples) == (0.5, 5e-5, 5)
    assert (config.learning_rate, config.decay_rate, config.decay_every) == (4e-4, 0.8, 3)
    assert (config.batch_size, config.captions_per_image) == (10, 5)
    assert (config.clip, config.clip_mode, config.encoder_learning_rate) == (0.1, "value", 1e-5)


def test_flags_change_a_preset():
    config = from_command_line(["--preset", "topdown", "--data", "x", "--hidden", "64"])
    assert config == replace(PRESETS["topdown"](), data=Path("x"), hidden=64)


def test_the_embedded_data_set_has_its_own_defaults():
    assert from_command_line([]) == PRESETS["scenes"]()
    assert from_command_line(["--data", "x"]) == TrainConfig(data=Path("x"))
    assert from_command_line(["--preset", "show_tell"]) == PRESETS["show_tell"]()


def test_resume_starts_from_the_runs_own_config(tmp_path):
    given = TrainConfig(out=tmp_path, hidden=77, epochs=5)
    (tmp_path / "config.json").write_text(given.to_json())
    found = from_command_line(["--out", str(tmp_path), "--resume", "--epochs", "9"])
    assert found == replace(given, resume=True, epochs=9)


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
        ({"start": 3}, "start is 3"),
        ({"scst_baseline": "greedi"}, "greedy"),
        ({"scst_samples": 1}, "two or more"),
        ({"start": "a", "out": "a"}, "--out a: this is the run of --start"),
        ({"start": "a", "out": "b/../a"}, "--out b/../a: this is the run of --start"),
        ([1], "expected an object"),
    ],
)
def test_mistakes_are_named(values, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig.from_dict(values, "config.json")


@pytest.mark.parametrize("name", RANGES)
def test_a_range_includes_both_of_its_ends(name):
    """As its message says: expected LOW to HIGH."""
    config = TrainConfig(scst_baseline="greedy")
    for end, beyond in zip(RANGES[name], (-1, 1), strict=True):
        assert getattr(replace(config, **{name: end}), name) == end
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} .*: expected"):
            replace(config, **{name: end + beyond})


def test_a_checkpoint_of_another_kind_is_refused():
    config = TrainConfig()
    other, run = replace(config, epochs=99, learning_rate=1.0, device="cpu"), Path("run")
    config.require_same(other, run, LASTING)
    with pytest.raises(
        ValueError, match=r"run: this run was trained with --hidden 64; .*\(got 512\)"
    ):
        config.require_same(replace(config, hidden=64), run, LASTING)
    config.require_same(replace(config, seed=9), run, SIZES)
    with pytest.raises(ValueError, match="--seed 9"):
        config.require_same(replace(config, seed=9), run, LASTING)


def test_help_is_short_and_rare_flags_work(capsys):
    with pytest.raises(SystemExit):
        from_command_line(["--help"])
    text = capsys.readouterr().out
    flags = set(re.findall(r"^.? (--[a-z][\w-]+)", text, re.M))  # after the box's edge
    sources = {"--preset", "--config", "--print-config"}
    assert sources < flags
    flags -= sources
    assert 20 <= len(flags) <= 25 and "--data" in flags
    every = {"--" + field.name.replace("_", "-") for field in fields(TrainConfig)}
    assert flags < every and every - flags == {"--" + name.replace("_", "-") for name in RARE}
    assert from_command_line(["--data", "x", "--scst-bleu", "0.5"]).scst_bleu == 0.5
    with pytest.raises(ValueError):
        from_command_line(["--scst-blue", "0.5"])
    with pytest.raises(ValueError, match="did you mean --start"):
        from_command_line(["--star", "runs/gone"])  # no flag may be shortened


def test_a_config_file_holds_the_defaults(tmp_path):
    given = TrainConfig(data=Path("x"), hidden=7, scst_after=2, start=Path("y"))
    (tmp_path / "given.json").write_text(replace(given, start=None).to_json())
    found = from_command_line(["--config", str(tmp_path / "given.json"), "--epochs", "3"])
    assert found == replace(given, epochs=3, start=None)
    (tmp_path / "given.json").write_text(given.to_json())  # as --print-config shows a --start
    assert from_command_line(["--config", str(tmp_path / "given.json")]) == given


def test_a_run_can_begin_with_another(tmp_path):
    """Its config but for the folder and the stages that lie behind it."""
    start = tmp_path / "one"
    start.mkdir()
    given = TrainConfig(data=Path("x"), out=start, hidden=7, finetune_after=40, scst_after=3)
    (start / "config.json").write_text(given.to_json())
    plain = from_command_line(["--start", str(start), "--epochs", "2"])
    out = tmp_path / "one-next"
    assert plain == replace(
        given, out=out, start=start, epochs=2, finetune_after=-1, scst_after=-1
    )  # fmt: skip
    (start / "config.json").write_text(replace(given, finetune_after=4).to_json())
    critical = from_command_line(["--preset", "scst", "--start", str(start), "--out", "z"])
    assert (critical.scst_after, critical.scst_learning_rate) == (0, 5e-5)
    assert (critical.finetune_after, critical.hidden, critical.out) == (0, 7, Path("z"))
    for words, said in (
        (["--preset", "scst"], "add --start"),
        (["--preset", "topdown", "--start", str(start)], "only scst"),
        (["--start", str(start), "--out", str(start)], "choose another folder"),
        (["--start", str(start), "--config", "f.json"], "--config and --start both"),
        (["--preset", "topdown", "--config", "f.json"], "--config and --preset both"),
        (["--preset"], "--preset needs a value"),
    ):
        with pytest.raises(ValueError, match=said):
            from_command_line(words)


@pytest.mark.parametrize(("after", "expected"), [(-1, -1), (0, 0), (1, 0), (3, 0), (4, -1)])
def test_an_encoder_is_fine_tuned_on_if_the_first_run_came_to_it(tmp_path, after, expected):
    config = TrainConfig(out=tmp_path, epochs=4, finetune_after=after)
    (tmp_path / "config.json").write_text(config.to_json())
    assert from_command_line(["--start", str(tmp_path)]).finetune_after == expected


def test_a_run_that_starts_from_a_model_lies_among_the_runs():
    for words, name in (([], "next"), (["--preset", "scst"], "scst")):
        found = from_command_line(["--start", "flickr8k", *words])
        assert (found.out, found.start) == (Path(f"runs/flickr8k-{name}"), Path("flickr8k"))


def test_resuming_a_run_that_began_with_another(tmp_path, monkeypatch):
    """It is the one beside that other, whatever lies in the folder of bare commands."""
    monkeypatch.chdir(tmp_path)
    start = Path("runs/a")
    for run, values in (
        ("default", {"hidden": 3}),
        ("a", {"hidden": 5}),
        ("a-scst", {"hidden": 5, "start": "runs/a", "scst_after": 0}),
    ):
        Path("runs", run).mkdir(parents=True)
        config = TrainConfig.from_dict(values | {"out": f"runs/{run}"}, run)
        Path("runs", run, "config.json").write_text(config.to_json())
    words = ["--start", "runs/a", "--resume"]
    found = from_command_line([*words, "--preset", "scst"])
    assert (found.out, found.start, found.hidden) == (Path("runs/a-scst"), start, 5)
    assert from_command_line(["--resume"]).hidden == 3
    with pytest.raises(ValueError, match="runs/default: this run was not created with --start"):
        from_command_line([*words, "--out", "runs/default"])


def stage(config, epoch, stale=0, finetune=False, scst=False):
    return next_stage(config, Progress(stale=stale, finetune=finetune, scst=scst), epoch)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((-1, -1), [(False, False)] * 5),
        ((0, -1), [(True, False)] * 5),
        ((-1, 0), [(False, True)] * 5),
        ((2, 4), [(False, False)] * 2 + [(True, False)] * 2 + [(True, True)]),
        ((4, 2), [(False, False)] * 2 + [(False, True)] * 2 + [(True, True)]),
    ],
)
def test_stages_begin_at_their_epochs(after, expected):
    config = TrainConfig(finetune_after=after[0], scst_after=after[1])
    assert [stage(config, epoch) for epoch in range(5)] == expected


def test_patience_begins_the_next_stage_and_ends_the_last():
    config = TrainConfig(finetune_after=5, scst_after=9, patience=2)
    assert stage(config, 1, stale=1) == (False, False)
    assert stage(config, 1, stale=2) == (True, False)
    assert stage(config, 2, finetune=True) == (True, False), "and there is no way back"
    assert stage(config, 3, 2, finetune=True) == (True, True)
    assert stage(config, 4, 2, finetune=True, scst=True) is None
    assert stage(replace(config, patience=0), 4, 50) == (False, False)
    ended = TrainConfig(scst_after=0, patience=2)  # which had no such stage
    assert stage(ended, 4, 2) == (False, True)


def test_self_critical_training_has_a_guard():
    config = TrainConfig(scst_after=0)
    assert stage(config, 5, 2, scst=True) == (False, True)
    assert stage(config, 5, 3, scst=True) is None
    assert stage(replace(config, patience=5), 5, 3, scst=True) == (False, True)
