"""Every command: --help with an example, and one line with exit status 2 for what is wrong."""

import json

import pytest

from tests.cli.conftest import run

COMMANDS = (
    "prepro.scenes", "prepro.labels", "prepro.features", "prepro.pretrain", "caption.train",
    "caption.sample", "caption.generate", "caption.journal", "eval.score", "eval.baselines",
    "eval.statements", "caption.report", "caption.demo", "prepro.adopt", "prepro.classify",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    ran = run(command, "--help")
    assert ran.status == 0 and f"python -m {command}" in ran.out and "Example" in ran.out


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_usage_costs_one_line(command):
    """The unknown flag is named, or else what is missing besides."""
    ran = run(command, "--no-such-flag")
    assert_one_line(ran)
    assert "--no-such-flag" in ran.err or "missing --" in ran.err or "no pictures" in ran.err


def assert_one_line(ran, *words):
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    for word in words:
        assert word in ran.err


def test_a_typing_mistake_is_met_with_the_right_name():
    assert_one_line(run("caption.train", "--learning-rat", "1"), "--learning-rate")
    assert_one_line(run("caption.train", "--preset", "topdwn"), "topdown")
    assert_one_line(run("caption.train", "--decoder", "show-tell"), "show_tell")
    assert_one_line(run("caption.train", "--dropout", "1.5"), "--dropout 1.5")
    assert_one_line(run("prepro.features", "--regions", "8"), "--regions")


def test_missing_files_are_named(tmp_path):
    gone = tmp_path / "gone"
    assert_one_line(run("caption.train", "--data", gone), str(gone))
    assert_one_line(run("caption.sample", gone), str(gone))
    assert_one_line(run("caption.generate", "--run", gone), str(gone))
    assert_one_line(run("prepro.features", "--data", gone), "prepro.labels")
    assert_one_line(
        run("prepro.labels", "--annotations", gone, "--images", tmp_path, "--out", tmp_path),
        str(gone),
    )
    assert_one_line(run("eval.score", "--references", gone, "--results", gone), str(gone))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_and_a_broken_list_are_named(tmp_path):
    odd = tmp_path / "odd.json"
    out = tmp_path / "out"
    common = ("--annotations", odd, "--images", tmp_path, "--out", out)
    odd.write_text(json.dumps({"pictures": []}))
    assert_one_line(run("prepro.labels", *common), "odd.json", "annotations")
    odd.write_text('{"images": [')
    assert_one_line(run("prepro.labels", *common), "odd.json", "JSON")
    odd.write_text(json.dumps({"images": [{"id": 1}], "annotations": []}))
    assert_one_line(run("prepro.labels", *common), "file_name")
    assert not out.exists()


def test_a_config_file_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"learning_rte": 1}))
    ran = run("caption.train", "--out", tmp_path, "--resume")
    assert_one_line(ran, "learning_rte", "learning_rate")
