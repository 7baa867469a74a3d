"""Files that an earlier version wrote still open: captions, resumed training, report, features."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import must, run_python

WRITTEN = Path(__file__).parent / "data" / "written_at_aad9a26"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())
NEW_NAMES = {f"Bleu_{n}": f"BLEU-{n}" for n in range(1, 5)} | {"ROUGE_L": "ROUGE-L"}
TRAIN_WITH_THE_OLD_DROPOUT = """
import sys
from torch import nn
from caption.models.layers.dropout import Dropout
from caption.train import __file__ as path
Dropout.forward = nn.Dropout.forward  # today's draws other masks
sys.argv[0] = path
import runpy
runpy.run_path(path, run_name="__main__")
"""
RUNS = ("topdown", "finetuned", "scst")


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(WRITTEN, tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("beam", [1, 3])
def test_an_old_run_gives_the_same_captions(folder, run, beam):
    words = ("--run", f"runs/{run}", "--data", "data", "--split", "test", "--beam", beam)
    must("caption.generate", *words, "--out", "found.json", "--device", "cpu", cwd=folder)
    captions = [row["caption"] for row in json.loads((folder / "found.json").read_text())]
    assert captions == EXPECTED["captions"][f"{run} {beam}"]


@pytest.mark.parametrize("run", RUNS)
def test_an_old_run_resumes_to_the_same_scores(folder, run):
    words = ("--out", f"runs/{run}", "--resume", "--epochs", "3")
    ran = run_python("-c", TRAIN_WITH_THE_OLD_DROPOUT, *words, cwd=folder)
    assert ran.status == 0, ran.err
    lines = (folder / "runs" / run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for found, expected in zip(rows, EXPECTED["resumed"][run], strict=True):
        found.pop("time", None)
        found, expected = (
            {NEW_NAMES.get(name, name): value for name, value in row.items()}
            for row in (found, expected)
        )
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("run", RUNS)
def test_an_old_run_is_reported_sampled_and_started_from(folder, run):
    must(
        "caption.report", "--run", f"runs/{run}", "--data", "data", "--bootstrap", "20", cwd=folder
    )
    assert (folder / "report.html").stat().st_size > 10_000
    picture = sorted((folder / "data" / "images").iterdir())[0]
    must("caption.sample", picture, "--run", f"runs/{run}", cwd=folder)
    start = ("--start", f"runs/{run}", "--epochs", "1")
    must("caption.train", *start, "--data", "data", "--out", "runs/next", cwd=folder)


def test_old_features_and_encoders_are_complete(folder):
    same = ("--encoder", "resnet10-small-w2", "--weights", "none", "--crop", "56", "--resize", "64")
    ran = must("prepro.features", "--data", "data", *same, "--device", "cpu", cwd=folder)
    assert "20 pictures" in ran.out
    more = ("--encoder", "resnet10-small-w2", "--recipe", "captions", "--batch", "4")
    sizes = ("--crop", "56", "--resize", "64", "--epochs", "2", "--resume", "--device", "cpu")
    data = ("--data", "data/annotations.json", "--out", "encoder_run")
    must("prepro.pretrain", *data, *more, *sizes, cwd=folder)
