"""The README section "Add a metric": the file of its example is scored with no other change."""

import json
import re
import sys
from pathlib import Path

import pytest

from eval import command, metrics
from eval.score import Options, main
from eval.scoring import metric_modules, score

README = Path(__file__).resolve().parents[2] / "README.md"
REFERENCES = {1: ["A dog runs.", "a dog"], 2: ["a cat"]}
RESULTS = {1: "a dog", 2: "a bird"}


@pytest.fixture
def added_metric(tmp_path, monkeypatch):
    """Write the README's example into a second folder of the package eval.metrics."""
    section = README.read_text(encoding="utf-8").partition("\n## Add a metric\n")[2]
    file, code = re.search(r"```python\n# eval/metrics/(\w+\.py)\n(.*?)```", section, re.S).groups()
    (tmp_path / file).write_text(code, encoding="utf-8")
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    name = file.removesuffix(".py")
    yield name
    sys.modules.pop(f"eval.metrics.{name}", None)
    vars(metrics).pop(name, None)


def test_metrics_are_the_modules_that_define_score():
    assert [module.__name__ for module in metric_modules()] == [
        "eval.metrics.bleu",
        "eval.metrics.rouge",
        "eval.metrics.cider",
    ]


def test_added_metric_is_scored_after_the_others(added_metric):
    found = score(REFERENCES, RESULTS)
    names = "BLEU-1 BLEU-2 BLEU-3 BLEU-4 ROUGE-L CIDEr-D CIDEr Exact".split()
    assert list(found.corpus) == names
    assert found.corpus["Exact"] == 0.5
    assert [row["Exact"] for row in found.per_image.values()] == [1, 0]


def test_added_metric_is_printed_and_compared(added_metric, tmp_path, capsys):
    annotations = [{"image_id": i, "caption": c} for i, group in REFERENCES.items() for c in group]
    for name, captions in (("ours", RESULTS), ("other", {1: "a dog", 2: "a cat"})):
        rows = [{"image_id": image, "caption": caption} for image, caption in captions.items()]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "references.json").write_text(json.dumps({"annotations": annotations}))
    argv = f"--references {tmp_path}/references.json --results {tmp_path}/ours.json"
    argv += f" --against {tmp_path}/other.json --bootstrap 20"
    assert command.run(Options, main, argv.split()) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Exact")]
    assert "0.5000" in row and "1.0000" in row and "+0.5000" in row
