"""The command `python -m eval.score`: files in, table and files out, one line for a mistake."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from eval import command
from eval.files import whole_file
from eval.score import Options, main
from eval.scoring import score

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = {
    1: ["A dog runs fast.", "the dog runs"],
    2: ["Two cats sleep on a mat."],
    7: ["a red bus"],
}
RESULTS = {1: "a dog runs fast", 2: "two cats on a mat", 7: "a blue bus"}


def entries(captions) -> list[dict]:
    several = {i: [c] if isinstance(c, str) else c for i, c in captions.items()}
    return [{"image_id": i, "caption": c} for i, group in several.items() for c in group]


def coco(captions=REFERENCES) -> dict:
    images = [{"id": image, "file_name": f"{image}.jpg"} for image in captions]
    return {"images": images, "annotations": entries(captions)}


@pytest.fixture
def files(tmp_path):
    """Write a JSON file and name it."""

    def write(name: str, content: object) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def run(*argv: str) -> int:
    return command.run(Options, main, argv)


def test_table_and_files(files, tmp_path, capsys):
    out, rows = tmp_path / "out.json", tmp_path / "rows.json"
    argv = [
        "--references",
        files("refs.json", coco()),
        "--results",
        files("r.json", entries(RESULTS)),
    ]
    assert run(*argv, "--json", str(out), "--per-image", str(rows)) == 0
    printed = capsys.readouterr()
    expected = score(REFERENCES, RESULTS)
    report = json.loads(out.read_text())
    assert list(report["metrics"]) == "BLEU-1 BLEU-2 BLEU-3 BLEU-4 ROUGE-L CIDEr-D CIDEr".split()
    assert list(report["metrics"].values()) == list(expected.corpus.values())
    assert list(json.loads(rows.read_text())["7"].values()) == list(expected.per_image[7].values())
    assert f"CIDEr-D  {expected.corpus['CIDEr-D']:.4f}" in printed.out
    assert "document frequencies come from 3 images" in printed.err
    assert report["provenance"]["references"] == 4 and report["health"]["captions"] == 3


def formats(files) -> dict[str, list[str]]:
    sentences = {i: [{"raw": caption} for caption in group] for i, group in REFERENCES.items()}
    karpathy = [{"cocoid": i, "split": "test", "sentences": s} for i, s in sentences.items()]
    karpathy.append({"cocoid": 9, "split": "train", "sentences": [{"raw": "x"}]})
    labels = [{"id": i, "split": "val", "captions": group} for i, group in REFERENCES.items()]
    rows = [f"{i}#{n}\t{c}" for i, group in REFERENCES.items() for n, c in enumerate(group)]
    return {
        "coco": [files("coco.json", coco())],
        "karpathy": [files("k.json", {"images": karpathy}), "--split", "test"],
        "labels": [files("labels.json", {"images": labels, "ix_to_word": {}}), "--split", "val"],
        "flickr": [
            files("tokens.txt", "\n".join([*rows, "9#0\tx"])),
            "--split",
            files("l.txt", "1\n2\n7"),
        ],
    }


def test_every_format_of_references_gives_the_same_scores(files, tmp_path):
    results, seen = files("r.json", entries(RESULTS)), []
    for name, argv in formats(files).items():
        out = tmp_path / f"{name}.out"
        assert run("--references", *argv, "--results", results, "--json", str(out)) == 0, name
        seen.append(json.loads(out.read_text())["metrics"])
    assert all(metrics == seen[0] for metrics in seen)


def test_objects_of_pycocotools(files):
    content = coco()
    numbered = [{**entry, "id": n} for n, entry in enumerate(content["annotations"])]
    truth = COCO(files("refs.json", {**content, "annotations": numbered, "info": {}}))
    printed = truth.loadRes(files("r.json", entries(RESULTS)))
    assert score(truth, printed).corpus == score(REFERENCES, RESULTS).corpus


BAD = {
    "not a list": ({"a": 1}, "not a list"),
    "not JSON": ("[{", "not valid JSON"),
    "NaN": ('[{"image_id": NaN, "caption": "a"}]', "NaN"),
    "no caption": ([{"image_id": 1}], "without 'caption'"),
    "caption no text": ([{"image_id": 1, "caption": None}], "is None, not a text"),
    "id no id": ([{"image_id": [1], "caption": "a"}], "not an image id"),
    "endless caption": ([{"image_id": 1, "caption": "a" * 2_000_000}], "2,000,000 characters"),
    "unknown id": (entries({**RESULTS, 99: "a"}), "1 image without references: 99"),
    "missing id": (entries({1: "a"}), "2 images without a caption: 2, 7"),
    "two captions": (entries({**RESULTS, 7: ["a", "b"]}), "1 image with several captions: 7"),
    "nothing": ([], "3 images without a caption"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_results_cost_one_line(case, files, capsys):
    content, reason = BAD[case]
    argv = ["--references", files("refs.json", coco()), "--results", files("r.json", content)]
    assert run(*argv) == 2
    printed = capsys.readouterr()
    assert reason in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_bad_references_cost_one_line(files, capsys):
    results = files("r.json", entries(RESULTS))
    entry = {"id": 1, "captions": 5}
    bad = [
        {"images": 3},
        {"images": [1]},
        {"images": [entry]},
        {"images": []},
        {"annotations": [1]},
    ]
    for content in [*bad, {"images": 5, "annotations": []}, [1], "no\ttoken file"]:
        assert run("--references", files("refs.json", content), "--results", results) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_split_is_named(files, capsys):
    images = [
        {"id": i, "captions": captions, "split": "test" if i == 1 else "val"}
        for i, captions in REFERENCES.items()
    ]
    argv = ["--references", files("labels.json", {"images": images})]
    assert run(*argv, "--results", files("r.json", entries({1: "a"}))) == 2
    assert "give --split test or val" in capsys.readouterr().err


def test_subset_scores_the_images_on_both_sides(files, tmp_path, capsys):
    results = files("r.json", entries({1: RESULTS[1], 7: [RESULTS[7], "x"], 99: "x"}))
    out = tmp_path / "out.json"
    argv = ["--references", files("refs.json", coco()), "--results", results, "--json", str(out)]
    assert run(*argv, "--subset") == 0
    both = score({i: REFERENCES[i] for i in (1, 7)}, {i: RESULTS[i] for i in (1, 7)})
    assert list(json.loads(out.read_text())["metrics"].values()) == list(both.corpus.values())
    printed = capsys.readouterr().err
    assert all(
        line in printed for line in ("several captions: 7", "references: 99", "a caption: 2")
    )


def test_document_frequencies_of_all_references_serve_one_image(files, tmp_path):
    refs, df = files("refs.json", coco()), str(tmp_path / "df.npz")
    assert (
        run("--references", refs, "--results", files("r.json", entries(RESULTS)), "--save-df", df)
        == 0
    )
    one, out = files("one.json", entries({1: RESULTS[1]})), tmp_path / "out.json"
    argv = ["--references", refs, "--results", one, "--subset", "--df", df, "--json", str(out)]
    assert run(*argv) == 0
    expected = score(REFERENCES, RESULTS).per_image[1]["CIDEr-D"]
    assert json.loads(out.read_text())["metrics"]["CIDEr-D"] == pytest.approx(expected, abs=1e-12)


def test_a_file_that_is_no_frequencies_costs_one_line(files, capsys):
    refs, results = files("refs.json", coco()), files("r.json", entries(RESULTS))
    assert run("--references", refs, "--results", results, "--df", files("df.npz", "junk")) == 2
    assert "not document frequencies" in capsys.readouterr().err


def test_comparison_intervals_novelty_and_diversity(files, tmp_path):
    refs, out = files("refs.json", coco()), tmp_path / "out.json"
    several = files("s.json", entries({1: ["a dog", "a dog"], 2: ["a cat", "the mat"]}))
    argv = [
        "--references",
        refs,
        "--results",
        files("r.json", entries(RESULTS)),
        "--json",
        str(out),
    ]
    argv += [
        "--against",
        files("o.json", entries(dict.fromkeys(RESULTS, "a"))),
        "--bootstrap",
        "50",
    ]
    assert run(*argv, "--training", refs, "--several", several) == 0
    report = json.loads(out.read_text())
    low, high = report["intervals"]["CIDEr-D"]
    assert low <= report["metrics"]["CIDEr-D"] <= high
    assert report["against"]["CIDEr-D"]["difference"] < 0 < report["against"]["CIDEr-D"]["p"] <= 1
    assert report["health"]["novel"] == pytest.approx(2 / 3)  # "a dog runs fast" is a reference
    assert report["diversity"]["self_cider"] == pytest.approx(0.5, abs=1e-6)


def test_it_starts_without_torch():
    program = "import sys, eval.score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("count", [-1, 100_001])
def test_a_number_of_resamplings_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match="--bootstrap takes 0 to 100,000"):
        Options(Path("references.json"), Path("results.json"), bootstrap=count)


def test_a_full_disk_is_named_with_the_file(tmp_path, capsys):
    def work():
        with whole_file(tmp_path / "results.json"):
            raise OSError(28, "a library's own words")

    assert command.finish(work) == 1
    assert f"{tmp_path}/results.json: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_named_first(tmp_path, capsys):
    assert command.finish(lambda: (tmp_path / "gone" / "x").mkdir()) == 2
    assert f": {tmp_path}/gone/x: No such file or directory\n" in capsys.readouterr().err


def test_help_leaves_the_options_as_they_are(capsys):
    before = [(field.name, field.type) for field in dataclasses.fields(Options)]
    with pytest.raises(SystemExit):
        command.parse(Options, ["--help"])
    assert [(field.name, field.type) for field in dataclasses.fields(Options)] == before
