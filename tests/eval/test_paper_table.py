"""eval.paper_table and the command's options for it: order, rounding, structure, LaTeX itself."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from eval import command
from eval.paper_table import ORDER, model_names, paper_table
from eval.score import Options, main

REPORT = {
    "name": "a_1 & b%",
    "metrics": {
        "CIDEr": 1.3,
        "CIDEr-D": 1.20449,
        "ROUGE-L": 0.5678,
        "SPICE": 0.2211,
        **{f"BLEU-{n}": 1 / n for n in (4, 3, 2, 1)},
        "METEOR": 0.2777,
        "Exact": 0.5,
    },
    "against": {
        r"~^\{#$}_|<±†×>": {
            "CIDEr-D": {"score": 1, "p": 0.01, "p_holm": 0.04, "permutations": 64, "exact": True},
            "METEOR": {"score": 0.2, "p": 0.04, "p_holm": 0.08, "permutations": 64, "exact": True},
        },
        "c": {"CIDEr-D": {"score": 1.1, "p": 1, "permutations": 1000, "exact": False}},
    },
    "provenance": {"split": "test", "images": 5000, "chair": "against 100 % of them"},
}


def test_the_table_is_in_the_order_and_rounding_of_papers():
    lines = paper_table(REPORT, "markdown").splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert heads == ["model", *ORDER, "Exact"]
    assert lines[2].endswith("| 100.0 | 50.0 | 33.3 | 25.0 | 27.8 | 56.8 | 120.4 | 22.1 | 50.0 |")
    assert lines[3].endswith("| – | – | – | – | 20.0 | – | 100.0† | – | – |")
    assert len({line.replace(r"\|", "").count("|") for line in lines[:5]}) == 1
    assert "Split test, images 5000" in lines[-1]
    assert "all 64 or 1,000 random permutations, corrected for 2 comparisons" in lines[-1]


@pytest.mark.parametrize(
    ("row", "cell"),
    [
        ({"score": 0.5, "p": 0.0499}, "50.0†"),
        ({"score": 0.5, "p": 0.05}, "50.0"),
        ({"score": 0.5, "p": 0.01, "p_holm": 0.05}, "50.0"),
        ({"score": 0.5, "p": 0.9, "p_holm": 0.01}, "50.0†"),
        ({"score": 0.5}, "50.0"),
        ({"score": 0.5, "std": 0.0, "p": 0.5}, "50.0 ± 0.0"),
        ({"score": 0.5, "std": 0.0316, "p": 0.04}, "50.0 ± 3.2†"),
    ],
)
def test_cells_are_marked_below_the_level(row, cell):
    row |= {"permutations": 64, "exact": True}
    report = {"name": "a", "metrics": {"METEOR": 0.1}, "std": {"METEOR": 0.0149}}
    report |= {"against": {"b": {"METEOR": row}}, "provenance": {"seeds": 3, "images": 5}}
    text = paper_table(report, "markdown")
    assert text.splitlines()[:4] == [
        "| model | METEOR |", "| --- | ---: |", "| a | 10.0 ± 1.5 |", f"| b | {cell} |",
    ]  # fmt: skip
    assert text.splitlines()[-1] == (
        "Scores × 100; mean ± standard deviation of 3 seeds. Images 5. † differs from a: "
        r"p \< 0.05, permutation test over the images, all 64 permutations."
    ).replace(r"\\", "\\")


def test_one_model_alone_has_no_test():
    report = {"name": "a", "metrics": {"METEOR": 0.1}, "provenance": {"images": 5}}
    assert paper_table(report, "markdown").splitlines()[-1] == "Scores × 100. Images 5."


def test_the_latex_has_equally_many_cells_a_row_and_no_bare_mark():
    text = paper_table(REPORT, "latex")
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert columns == "l" + "r" * 9 and len(rows) == 4
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == 9
    for opened in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\begin{{{opened}}}") == text.count(rf"\end{{{opened}}}") == 1
    bare = re.sub(r"\\[\\%#_&{}$]|\$[^$]*\$", "", text)
    assert not re.search(r"[%#_$~^±†×<>|]", bare)
    assert bare.count("{") == bare.count("}")


def test_latex_compiles_it(tmp_path):
    latex = shutil.which("pdflatex") or shutil.which("tectonic")
    if not latex:
        pytest.skip("no LaTeX")
    document = r"\documentclass{article}\begin{document}%s\end{document}"
    (tmp_path / "t.tex").write_text(document % paper_table(REPORT, "latex"), "utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in latex else []
    ran = subprocess.run([latex, *options, "t.tex"], cwd=tmp_path, capture_output=True, timeout=120)
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ([["a.json"], ["b.json"]], ["a", "b"]),
        ([["runs/a/results.json"], ["runs/b/results.json"]], ["a", "b"]),
        ([["td-9.json", "td-10.json"], ["st_1.json", "st_2.json"]], ["td", "st"]),
        ([["resnet50-1.json", "resnet50-2.json"]], ["resnet50"]),
        ([["td-11.json", "td-12.json"]], ["td"]),
        ([["m/1.json", "m/2.json"], ["n/c.json", "n/c2.json"]], ["m", "n"]),
        ([["a_1.json", "a_12.json"]], ["a"]),
        ([["/a/x/r.json"], ["/b/x/r.json"]], ["/a/x/r.json", "/b/x/r.json"]),
        ([["x.json"], ["x.json"]], ["x.json (1)", "x.json (2)"]),
    ],
)
def test_models_are_called_by_their_files(models, names):
    assert model_names([list(map(Path, files)) for files in models]) == names


@pytest.fixture
def files(tmp_path):
    """References, and three seeds of two models; the path of each."""
    texts = ["a dog runs", "two cats sleep on a mat", "a red bus", "the sky is blue"]
    coco = [{"image_id": i, "caption": text} for i, text in enumerate(texts)]
    content = {"images": [{"id": i} for i in range(4)], "annotations": coco}
    (tmp_path / "refs.json").write_text(json.dumps(content))
    for model in "ab":
        for seed in range(3):
            rows = [row | {"caption": f"{row['caption']} {model * seed}"} for row in coco]
            path = tmp_path / f"{model}-{seed}.json"
            path.write_text(json.dumps(rows if model == "a" else rows[::-1]))
    (tmp_path / "c.json").write_text(json.dumps([row | {"caption": "a dog"} for row in coco]))
    return lambda *names: [str(tmp_path / f"{name}.json") for name in names]


def run(files, *argv: str) -> int:
    return command.run(Options, main, ["--references", *files("refs"), *argv])


def test_several_seeds_and_several_models(files, tmp_path, capsys):
    seeds, others = files("a-0", "a-1", "a-2"), files("b-0", "b-1", "b-2")
    argv = ("--results", *seeds, "--against", *others, "--against", *files("c", "c", "c"))
    assert run(files, *argv, "--json", str(tmp_path / "out.json")) == 0
    shown = capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    scores = [report["seeds"][path]["CIDEr-D"] for path in seeds]
    assert report["metrics"]["CIDEr-D"] == pytest.approx(sum(scores) / 3)
    assert report["std"]["CIDEr-D"] > 0 and report["provenance"]["seeds"] == 3
    assert list(report["against"]) == ["b", "c"]
    row = report["against"]["c"]["CIDEr-D"]
    assert row["exact"] and row["permutations"] == 2**4 and row["p_holm"] >= row["p"]
    assert row["p_seeds"] == 2 / 20 and row["std"] == 0
    assert "all 16 permutations; p Holm: corrected for 2 comparisons" in shown
    assert re.search(r"^metric +c +difference", shown, re.MULTILINE)
    assert run(files, *argv, "--table", "latex") == 0
    assert r"a & " in (text := capsys.readouterr().out) and r"$\pm$" in text


def test_one_comparison_stays_by_metric(files, tmp_path):
    argv = ("--results", *files("a-0"), "--against", *files("c"))
    assert run(files, *argv, "--json", str(tmp_path / "out.json")) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["against"]["BLEU-4"]["p"] > 0 and "std" not in report and "seeds" not in report


def test_unequal_numbers_of_seeds_are_refused():
    with pytest.raises(ValueError, match="2 seeds of a model, --results 1; .* once for each model"):
        Options(Path("r"), (Path("a"),), against=((Path("b"), Path("c")),))
