"""Every command: --help with an example, and one line with exit status 2 for what is wrong."""

import json
import re

import pytest

from eval import command_list
from tests.cli.conftest import ROOT, run, run_python

HEAVY = {"torch", "torchvision", "h5py", "matplotlib"}  # a second and more to import
# How each command is pointed at a file that is not there. A new command belongs in here.
MISSING = {
    "caption.convert": "--checkpoint GONE.pth --infos GONE.pkl --out OUT",
    "caption.demo": "--run GONE",
    "caption.average": "--run GONE --run GONE --out OUT.safetensors",
    "caption.export": "--run GONE --out OUT.safetensors",
    "caption.generate": "--run GONE",
    "caption.curves": "GONE --out OUT",
    "caption.onnx": "x.jpg --model GONE",
    "caption.report": "--run GONE --out OUT",
    "caption.sample": "GONE",
    "caption.train": "--data GONE --out OUT",
    "eval.baselines": "--references GONE",
    "eval.score": "--references GONE --results GONE",
    "eval.statements": "--results GONE --scenes GONE",
    "prepro.adopt": "--data GONE --fc GONE",
    "prepro.classify": "GONE",
    "prepro.curves": "GONE --out OUT",
    "prepro.download": f"karpathy --out {ROOT}/setup.cfg/gone",  # a file where a folder belongs
    "prepro.encoders": "GONE",  # the name of no encoder
    "prepro.features": "--data GONE",
    "prepro.labels": "--annotations GONE --images . --out OUT",
    "prepro.augment": "--data GONE --out OUT",
    "prepro.pack": "--data GONE --out OUT",
    "prepro.pretrain": "--data GONE --out OUT",
    "prepro.scenes": f"--out {ROOT}/setup.cfg/GONE",  # a file where a folder belongs
}


def commands() -> list[str]:
    """Every module of the packages that can be run, under its present name."""
    return sorted(
        name
        for package in ("caption", "eval", "prepro")
        for name in command_list.commands(ROOT / package)
    )


@pytest.mark.parametrize("command", commands())
def test_help_has_an_example_and_needs_nothing_heavy(command):
    ran = run_python("-X", "importtime", "-m", command, "--help")
    assert ran.status == 0 and "Example" in ran.out
    example = re.search(r"Example: python -m (\S+) ", ran.out + " ")
    assert example and example[1] == command
    imported = set(re.findall(r"^import time: .*\| +([\w.]+)$", ran.err, re.MULTILINE))
    assert "tyro" in imported and not imported & HEAVY


@pytest.mark.parametrize("command", commands())
def test_an_unknown_flag_costs_one_line(command):
    ran = run(command, "--no-such-flag")
    assert_one_line(ran, f"{command}: ")
    positional = command in ("caption.sample", "prepro.curves", "prepro.download")
    assert "--no-such-flag" in ran.err or positional


@pytest.mark.parametrize("command", commands())
def test_a_missing_file_is_named_in_one_line(command, tmp_path):
    words = MISSING[command].replace("GONE", str(tmp_path / "gone"))
    ran = run(command, *words.replace("OUT", str(tmp_path / "out")).split())
    assert_one_line(ran, f"{command}: ", "gone")
    assert list(tmp_path.iterdir()) == []


def assert_one_line(ran, *words):
    assert ran.status == 2, ran.err
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("caption.train --learning-rat 1", "did you mean --learning-rate?"),
        ("caption.train --preset topdwn", "topdown"),
        ("caption.train --decoder show-tell", "show_tell"),
        ("caption.train --dropout 1.5", "--dropout 1.5"),
        ("caption.sample a.jpg --beams 5", "did you mean --beam?"),
        ("eval.score --reference a.json --results b.json", "did you mean --references?"),
        ("prepro.features --regions many", "--regions"),
        ("prepro.labels --annotations a --images . --out b --format coc", "'coco'"),
        ("prepro.labels --annotations a --images . --out b --min-count few", "--min-count"),
    ],
)
def test_a_typing_mistake_is_met_with_the_right_name(line, meant):
    assert_one_line(run(*line.split()), meant)


def test_pictures_without_labels_are_sent_to_the_command_that_makes_them(tmp_path):
    assert_one_line(run("prepro.features", "--data", tmp_path), "prepro.labels")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"pictures": []}', "matches no annotation format"),
        ('{"images": [', "not valid JSON"),
        ('{"images": [{"id": 1}], "annotations": []}', "file_name"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ],
)
def test_annotations_that_are_something_else_leave_nothing_behind(tmp_path, text, named):
    odd, out = tmp_path / "odd.json", tmp_path / "out"
    odd.write_text(text)
    common = ("--annotations", odd, "--images", tmp_path, "--out", out)
    assert_one_line(run("prepro.labels", *common), "odd.json: ", named)
    assert not out.exists()


def test_a_broken_list_of_pictures_is_named(tmp_path):
    (tmp_path / "labels.json").write_text('{"images": [{"id": 1, ')
    assert_one_line(run("prepro.features", "--data", tmp_path), "labels.json", "not valid JSON")
    assert_one_line(run("caption.train", "--data", tmp_path), "labels.json", "not valid JSON")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_a_config_file_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"learning_rte": 1}))
    ran = run("caption.train", "--out", tmp_path, "--resume")
    assert_one_line(ran, "learning_rte", "learning_rate")


def test_training_that_cannot_begin_leaves_the_earlier_run_alone(tmp_path):
    earlier = tmp_path / "runs" / "default"
    earlier.mkdir(parents=True)
    (earlier / "last.json").write_text("{}")
    assert_one_line(run("caption.train", "--data", "gone", cwd=tmp_path), "gone")
    assert [path.name for path in earlier.parent.iterdir()] == ["default"]


@pytest.mark.parametrize("command", ["caption.train", "prepro.features", "eval.score"])
def test_without_the_environment(command):
    done = run_python("-S", "-m", command)  # -S: no installed packages
    assert done.status == 2
    assert done.err == "dependencies are missing: activate .venv, or run make setup\n"


@pytest.mark.parametrize("package", ["caption", "eval", "prepro"])
def test_a_package_lists_its_commands_with_a_phrase_each(package):
    ran = run(package)
    assert ran.status == 0 and ran.err == ""
    lines = ran.out.splitlines()[:-2]
    expected = [name for name in commands() if name.startswith(f"{package}.")]
    assert [line.split()[2] for line in lines] == expected
    assert all(len(line.split()) >= 6 for line in lines)


def test_the_former_name_of_a_command_still_works(tmp_path):
    for former, present in command_list.FORMER_NAMES.items():
        assert f"Example: python -m {present}" in run(former, "--help").out
