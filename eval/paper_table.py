"""The scores of one or more models as the table of a paper, in Markdown or LaTeX.

In: the report of `eval.score`. Out: text; the LaTeX needs no package.

    python -m eval.score --references labels.json --split test --results a.json --against b.json \
        --table latex

Metrics stand in the order of papers, times 100, with one decimal. CIDEr-D is the column that papers
call CIDEr; the CIDEr of 2015, which they leave out, is in --json.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from eval.files import printable
from eval.table import permutations_note, sentence

ORDER = (*(f"BLEU-{n}" for n in range(1, 5)), "METEOR", "ROUGE-L", "CIDEr-D", "SPICE")
LEFT_OUT = ("CIDEr",)
LEVEL = 0.05  # of significance, for the mark
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {mark: "\\" + mark for mark in "&%$#_{}"}
LATEX |= {"<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$", "†": r"$^\dagger$", "×": r"$\times$"}
MARKDOWN = {mark: "\\" + mark for mark in "\\|*_`<>[]#"}


def model_names(models: Sequence[Sequence[Path]]) -> list[str]:
    """How tables call models by their results files: by file, folder or path, each its own way."""
    for called in (lambda path: path.stem, lambda path: path.resolve().parent.name, str):
        names = [_common([called(path) for path in files]) for files in models]
        if len(set(names)) == len(names) and all(names):
            return list(map(printable, names))
    return [f"{printable(files[0])} ({number})" for number, files in enumerate(models, 1)]


def _common(seeds: Sequence[str]) -> str:
    """What the names of a model's seeds have in common, without a part of their numbers."""
    if len(seeds) == 1:
        return seeds[0]
    equal = takewhile(lambda letters: len(set(letters)) == 1, zip(*seeds, strict=False))
    return re.sub(r"\d+$", "", "".join(letters[0] for letters in equal)).rstrip("-_. ")


def paper_table(report: Mapping[str, Mapping], form: str) -> str:
    """A row a model, a column a metric; below it, what was measured and how."""
    metrics = [name for name in ORDER if name in report["metrics"]]
    metrics += [name for name in report["metrics"] if name not in (*ORDER, *LEFT_OUT)]
    ours = {
        name: {"score": report["metrics"][name], "std": report.get("std", {}).get(name)}
        for name in metrics
    }
    models = {report["name"]: ours, **report.get("against", {})}
    rows = [
        [name, *(_cell(row.get(metric, {})) for metric in metrics)] for name, row in models.items()
    ]
    draw = _latex if form == "latex" else _markdown
    return draw(["model", *metrics], rows, _notes(report))


def _cell(row: Mapping[str, float]) -> str:
    """`75.1`, with `± 0.3` over the seeds, and † where it differs from the first row."""
    if not row:
        return "–"
    spread = row.get("std")
    text = f"{100 * row['score']:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
    return text + ("†" if row.get("p_holm", row.get("p", 1)) < LEVEL else "")


def _notes(report: Mapping[str, Mapping]) -> list[str]:
    """What was measured and how, a sentence each."""
    spread = f"; mean ± standard deviation of {report['provenance'].get('seeds')} seeds"
    notes = ["Scores × 100" + (spread if "std" in report else "")]
    notes.append(sentence({n: v for n, v in report["provenance"].items() if n != "seeds"}))
    others = report.get("against", {})
    if others:
        test = f"† differs from {report['name']}: p < {LEVEL}, {permutations_note(others)}"
        few = f", corrected for {len(others)} comparisons by Holm's method"
        notes.append(test + (few if len(others) > 1 else ""))
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    cells = [[_escaped(cell, MARKDOWN) for cell in row] for row in (heads, *rows)]
    cells.insert(1, ["---", *["---:"] * (len(heads) - 1)])
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([*lines, "", " ".join(_escaped(note, MARKDOWN) for note in notes)])


def _latex(heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    head, *body = (
        " & ".join(_escaped(cell, LATEX) for cell in row) + r" \\" for row in (heads, *rows)
    )
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"    \hline",
            f"    {head}",
            r"    \hline",
            *(f"    {line}" for line in body),
            r"    \hline",
            r"  \end{tabular}",
            rf"  \caption{{{' '.join(_escaped(note, LATEX) for note in notes)}}}",
            r"\end{table}",
        ]
    )


def _escaped(text: str, marks: Mapping[str, str]) -> str:
    return text.translate(str.maketrans(marks))
