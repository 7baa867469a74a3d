"""Options of `python -m eval.score` and `eval.baselines`, and their limits."""

import json
from pathlib import Path

import numpy as np
import pytest

from eval import baselines, command
from eval.metrics import document_frequencies
from eval.metrics.ngram_counts import pair
from eval.score import Options, main
from eval.scoring import score

REFERENCES = {1: ["a dog runs", "the dog"], 2: ["a cat sits", "one cat"], 3: ["a red bus", "a bus"]}
RESULTS = {1: "a dog", 2: "a dog and a cat", 3: "a bus"}


def entries(captions) -> list[dict]:
    return [{"image_id": image, "caption": caption} for image, caption in captions.items()]


@pytest.fixture
def scored(tmp_path):
    """Score RESULTS with more options; gives the report."""
    labels = [{"id": i, "split": "val", "captions": c} for i, c in REFERENCES.items()]
    (tmp_path / "refs.json").write_text(json.dumps({"images": labels}))
    (tmp_path / "r.json").write_text(json.dumps(entries(RESULTS)))

    def run(*argv) -> dict:
        words = ["--references", "refs.json", "--results", "r.json", "--json", "out.json"]
        words = [str(tmp_path / word) if word.endswith(".json") else word for word in words]
        assert command.run(Options, main, [*words, *map(str, argv)]) == 0
        return json.loads((tmp_path / "out.json").read_text())

    return run


def test_limits_of_options():
    """0 to 100,000 resamplings, a results file at least, and equally many seeds."""
    paths = (Path("a"),)
    for times in (0, 100_000):
        assert Options(Path("r"), paths, bootstrap=times).bootstrap == times
    with pytest.raises(ValueError, match="--results needs a file"):
        Options(Path("r"), ())
    assert Options(Path("r"), paths, against=((Path("b"),), (Path("c"),)))


def test_the_plain_report_has_nothing_that_was_not_asked_for(scored, capsys):
    report = scored()
    assert list(report) == ["name", "metrics", "health", "provenance"]
    assert list(report["metrics"]) == list(score(REFERENCES, RESULTS).corpus)
    assert report["provenance"]["tokenizer"] == "PTB as in coco-caption"
    assert scored("--coco-exact")["provenance"]["tokenizer"] == "PTB as in coco-caption, file order"
    assert "left out" not in capsys.readouterr().err


def test_in_python_images_must_agree_unless_a_subset_is_asked_for():
    few = {1: "a dog", 2: "a cat"}
    with pytest.raises(ValueError, match="1 image without a caption: 3"):
        score(REFERENCES, few)
    found = score(REFERENCES, few, subset=True)
    assert list(found.per_image) == [1, 2] and found.provenance["images"] == 2
    assert found.warnings[0] == "1 image without a caption: 3"
    with pytest.raises(ValueError, match="no image has both a caption and references"):
        score(REFERENCES, {9: "a"}, subset=True)
    assert score(REFERENCES, {i: [c] for i, c in RESULTS.items()}).corpus == (
        score(REFERENCES, RESULTS).corpus
    )


def test_in_python_every_caption_stands_alone_unless_told():
    """The official tool takes the dot from "B." before a line that begins with "A"."""
    references = {1: ["plan B.", "A man"]}
    alone, exact = (score(references, {1: "a"}, **kind) for kind in ({}, {"coco_exact": True}))
    assert alone.pairs.tokens[0] == pair(references, {1: "a"}).tokens[0] == ["plan", "b."]
    assert exact.pairs.tokens[0] == ["plan", "b"]
    assert alone.provenance["tokenizer"] == "PTB as in coco-caption"
    assert alone.provenance["document_frequencies"] == "these references"
    counted = document_frequencies.count(pair(REFERENCES, RESULTS))
    given = score(references, {1: "a"}, frequencies=counted)
    assert given.provenance["document_frequencies"] == "3 images of a file"


def test_chair_is_measured_where_only_instances_are_given(scored, tmp_path):
    content = {
        "images": [{"id": i} for i in REFERENCES],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [{"image_id": 2, "category_id": 5}],
    }
    (tmp_path / "i.json").write_text(json.dumps(content))
    assert scored("--chair")["hallucinated"] == {"2": ["dog"]}
    report = scored("--instances", tmp_path / "i.json")
    assert report["metrics"]["CHAIRs"] == 0 and "hallucinated" not in report
    other = content | {"images": [{"id": 9}], "annotations": []}
    (tmp_path / "o.json").write_text(json.dumps(other))
    argv = ["--references", tmp_path / "refs.json", "--results", tmp_path / "r.json"]
    argv += ["--instances", tmp_path / "o.json"]
    with pytest.raises(ValueError, match="has none of the scored images"):
        main(command.parse(Options, list(map(str, argv))))


def test_spice_without_java_costs_a_line_and_nothing_else(scored, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert "SPICE" not in scored("--spice")["metrics"]
    assert "r.json: SPICE is left out: there is no `java`" in capsys.readouterr().err


def test_comparisons_take_a_thousand_permutations_unless_told(scored, tmp_path):
    images = range(40)
    labels = [{"id": i, "captions": [f"a dog {i} runs"]} for i in images]
    (tmp_path / "refs.json").write_text(json.dumps({"images": labels}))
    (tmp_path / "r.json").write_text(json.dumps(entries({i: f"a dog {i}" for i in images})))
    (tmp_path / "b.json").write_text(json.dumps(entries({i: f"a cat {i}" for i in images})))
    against = ("--against", tmp_path / "b.json")
    assert scored(*against)["against"]["BLEU-1"]["permutations"] == 1000
    report = scored(*against, "--bootstrap", 20)
    assert report["against"]["BLEU-1"]["permutations"] == 20 and "intervals" in report


def test_the_results_must_be_of_the_images_even_without_splits(scored, tmp_path, capsys):
    (tmp_path / "refs.json").write_text(
        json.dumps({"annotations": entries({i: c[0] for i, c in REFERENCES.items()} | {4: "x"})})
    )
    argv = ["--references", tmp_path / "refs.json", "--results", tmp_path / "r.json"]
    assert command.run(Options, main, list(map(str, argv))) == 2
    assert "--subset scores the images on both sides" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 0}, "are damaged"),
        ({"counts2": np.zeros(2, np.int64)}, "are damaged"),
        ({"grams4": np.zeros(99, np.int64)}, "are damaged"),
        ({"images": "many"}, "not document frequencies written by --save-df"),
        ({"vocabulary": np.frombuffer(b"\xff", np.uint8)}, "not document frequencies"),
    ],
)
def test_damaged_document_frequencies_are_refused(tmp_path, change, message):
    path = tmp_path / "df.npz"
    document_frequencies.save(document_frequencies.count(pair({1: ["a b"]}, {1: "a"})), path)
    assert document_frequencies.load(path).images == 1
    with np.load(path) as file:
        arrays = dict(file) | change
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        document_frequencies.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        document_frequencies.load(tmp_path / "gone.npz")


class Opened:
    """What opens a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_in_document_frequencies_is_unpickled(tmp_path):
    np.savez(tmp_path / "df.npz", vocabulary=np.array([Opened(str(tmp_path / "x"))], object))
    with pytest.raises(ValueError, match="not document frequencies"):
        document_frequencies.load(tmp_path / "df.npz")
    assert not (tmp_path / "x").exists()


def test_baselines_are_printed(tmp_path, capsys):
    star = {"shape": "star", "color": "red", "box": [0, 0, 4, 4]}
    captions = {1: ["a red star", "one red star"], 2: ["two red stars", "a red star"]}
    captions |= {3: ["a red star", "there is a red star"]}
    scenes = [{"id": i, "objects": [star] * n} for i, n in ((1, 1), (2, 2), (3, 1))]
    labels = [{"id": i, "captions": c} for i, c in captions.items()]
    argv = []
    for name, content in (("references", {"images": labels}), ("scenes", {"images": scenes})):
        (tmp_path / name).with_suffix(".json").write_text(json.dumps(content))
        argv += [f"--{name}", str(tmp_path / f"{name}.json")]
    assert command.run(baselines.Options, baselines.main, argv) == 0
    constant, people, truth = capsys.readouterr().out.splitlines()
    texts = {text for several in captions.values() for text in several}
    best = max(score(captions, dict.fromkeys(captions, t)).corpus["CIDEr-D"] for t in texts)
    assert constant.startswith("constant  BLEU-4 ") and f"CIDEr-D {best:.3f}" in constant
    found = baselines.people(captions)
    assert people == (
        f"people    BLEU-4 {found['BLEU-4']:.3f}  ROUGE-L {found['ROUGE-L']:.3f}  "
        f"CIDEr-D {found['CIDEr-D']:.3f}"
    )
    assert truth.startswith("true statements of a constant caption, at best  0.8333  ")
    labels[0]["captions"] = ["a red star"]  # nobody to compare it with
    (tmp_path / "references.json").write_text(json.dumps({"images": labels}))
    assert command.run(baselines.Options, baselines.main, argv[:2]) == 0
    assert capsys.readouterr().out.count("\n") == 1
