"""From pictures and captions to captions and scores, through the commands that users type."""

import json
import shutil

import torch
from pycocotools.coco import COCO

from eval.scoring import score
from tests.cli.conftest import TINY, must, run


def test_a_run_holds_what_the_design_says(pipeline):
    names = {path.name for path in pipeline.run.iterdir()}
    assert {"config.json", "metrics.jsonl", "curves.png", "last.json", "best.json"} <= names
    assert "model.safetensors" in names
    assert (pipeline.run.parent / "latest").resolve() == pipeline.run.resolve()
    rows = [json.loads(line) for line in (pipeline.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "CIDEr-D" in row] == [1, 2]


def test_sample_needs_the_portable_file_alone(pipeline, tmp_path):
    shutil.copy(pipeline.run / "model.safetensors", tmp_path / "model.safetensors")
    picture = shutil.copy(pipeline.pictures[0], tmp_path / "a picture.jpg")
    ran = must("caption.sample", picture, "--run", tmp_path, cwd=tmp_path)
    words = set(json.loads((pipeline.data / "labels.json").read_text())["ix_to_word"].values())
    assert ran.out.count("\n") == 1 and set(ran.out.split()) <= words


def test_sample_and_generate_agree(pipeline, tmp_path):
    """Features from the file and features computed from the picture give the same captions."""
    results = tmp_path / "results.json"
    must("caption.generate", "--run", pipeline.run, "--split", "test", "--out", results)
    stored = {row["image_id"]: row["caption"] for row in json.loads(results.read_text())}
    names = [pipeline.data / "images" / f"{image:06d}.jpg" for image in stored]
    ran = must("caption.sample", *names, "--run", pipeline.run)
    fresh = [line.split("\t")[1] for line in ran.out.splitlines()]
    assert fresh == list(stored.values())


def test_json_lines_carry_log_probabilities(pipeline):
    image_paths = "".join(f"{path}\n" for path in pipeline.pictures[:3])
    ran = must("caption.sample", "-", "--run", pipeline.run, "--json", "--n", 2, stdin=image_paths)
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["file"] for row in rows] == image_paths.split()
    for row in rows:
        first, second = row["captions"]
        assert first["log_prob"] >= second["log_prob"]
        assert abs(sum(first["log_probs"]) - first["log_prob"]) < 1e-4


def test_a_bad_picture_stops_nothing(pipeline, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(pipeline.pictures[0].read_bytes()[:500])
    ran = run("caption.sample", broken, pipeline.pictures[1], "--run", pipeline.run)
    assert ran.status == 1
    assert ran.out.startswith(f"{pipeline.pictures[1]}\t")
    assert "broken.jpg: " in ran.err and "Traceback" not in ran.err


def test_scores_and_truth(pipeline, tmp_path):
    results, scores = tmp_path / "results.json", tmp_path / "scores.json"
    must("caption.generate", "--run", pipeline.run, "--split", "test", "--out", results)
    labels = pipeline.data / "labels.json"
    ran = must(
        "eval.score", "--references", labels, "--split", "test", "--results", results,
        "--json", scores,
    )  # fmt: skip
    assert "CIDEr-D" in ran.out
    assert json.loads(scores.read_text())["provenance"]["images"] == 10
    scenes = pipeline.data / "annotations.json"
    coco = COCO(scenes)  # pycocotools reads our annotations and our results
    loaded = coco.loadRes(str(results))
    truth = {image: [a["caption"] for a in coco.imgToAnns[image]] for image in loaded.imgToAnns}
    metrics = json.loads(scores.read_text())["metrics"]
    assert list(score(truth, loaded).corpus.values()) == list(metrics.values())
    ran = must("eval.statements", "--scenes", scenes, "--results", results)
    assert 0 <= float(ran.out.split()[2]) <= 1
    ran = must("eval.baselines", "--references", labels, "--split", "test", "--scenes", scenes)
    assert ran.out.startswith("constant") and "people" in ran.out


def test_references_of_the_scenes_are_true(pipeline, tmp_path):
    """The checker against the painter: every caption that prepro.scenes writes is true."""
    annotations = json.loads((pipeline.data / "annotations.json").read_text())["annotations"]
    for first in range(5):
        results = tmp_path / "references.json"
        results.write_text(json.dumps(annotations[first::5]))
        ran = must(
            "eval.statements", "--scenes", pipeline.data / "annotations.json", "--results", results
        )
        assert ran.out.startswith("true statements  1.0000")


def test_a_resumed_run_is_the_run_that_never_stopped(pipeline, tmp_path):
    """Stopped after an epoch and resumed for another, bit for bit like two in one go."""
    common = ("--data", pipeline.data, *TINY, "--dropout", 0.3, "--ema", 0.9)
    must("caption.train", *common, "--out", tmp_path / "whole", "--epochs", 2)
    must("caption.train", *common, "--out", tmp_path / "parts", "--epochs", 1)
    must("caption.train", "--out", tmp_path / "parts", "--epochs", 2, "--resume")
    whole, parts = (_last(tmp_path / name) for name in ("whole", "parts"))
    assert whole["progress"] == parts["progress"]
    for part in ("model", "average"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, parts[part][name]), name


def _last(folder):
    pointer = json.loads((folder / "last.json").read_text())
    return torch.load(folder / pointer["file"], weights_only=True)
