"""The report of `eval.score` as an aligned table.

In: the report; its comparisons by the name of the other model. Out: text.
"""

from collections.abc import Mapping, Sequence

BELOW = ("health", "diversity", "provenance")


def table(report: Mapping[str, Mapping]) -> str:
    """A row a metric: its score, and interval and comparison where the report has them.

    Several comparisons follow as tables of their own.
    """
    others = report.get("against", {})
    single = next(iter(others.values())) if len(others) == 1 else None
    rows = [_scores(report) + (_comparison(single, report["metrics"], "against") if single else [])]
    if len(others) > 1:
        rows += [
            [["metric", *report["metrics"]], *_comparison(found, report["metrics"], name)]
            for name, found in others.items()
        ]
    notes = [p_values_note(others)] if others else []
    notes += [sentence(report[part]) for part in BELOW if part in report]
    return "\n\n".join([*map(_aligned, rows), "\n".join(notes)])


def _scores(report: Mapping[str, Mapping]) -> list[list[str]]:
    """The columns of our scores, each with its heading."""
    metrics = report["metrics"]
    columns = [["metric", *metrics]]
    columns.append(["mean" if "std" in report else "score", *map(_four, metrics.values())])
    if "std" in report:
        columns.append(["std", *map(_four, report["std"].values())])
    if "intervals" in report:
        columns.append(["95% interval", *(_range(report["intervals"].get(n)) for n in metrics)])
    return columns


def _comparison(
    rows: Mapping[str, Mapping], metrics: Mapping[str, float], name: str
) -> list[list[str]]:
    """The columns of a comparison, empty for metrics that it lacks."""
    known = next(iter(rows.values()))
    shown = {
        name: lambda row: _four(row["score"]),
        "difference": lambda row: f"{row['difference']:+.4f}",
        "95% interval": lambda row: _range((row["low"], row["high"])),
        "p": lambda row: _probability(row["p"]),
    }
    if "p_holm" in known:
        shown["p Holm"] = lambda row: _probability(row["p_holm"])
    if "p_seeds" in known:
        shown["p seeds"] = lambda row: _probability(row["p_seeds"])
    return [
        [heading, *(cell(rows[n]) if n in rows else "" for n in metrics)]
        for heading, cell in shown.items()
    ]


def _aligned(columns: Sequence[Sequence[str]]) -> str:
    """The columns as lines, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in zip(*columns, strict=True)
    )


def _four(value: float) -> str:
    return f"{value:.4f}"


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.4f}"


def _range(ends) -> str:
    return f"{ends[0]:.4f} .. {ends[1]:.4f}" if ends else ""


def permutations_note(comparisons: Mapping[str, Mapping[str, Mapping]]) -> str:
    """The test that p comes from."""
    rows = [next(iter(found.values())) for found in comparisons.values()]
    kinds = [
        f"all {r['permutations']:,}" if r["exact"] else f"{r['permutations']:,} random"
        for r in rows
    ]
    return f"permutation test over the images, {' or '.join(dict.fromkeys(kinds))} permutations"


def p_values_note(comparisons: Mapping[str, Mapping[str, Mapping]]) -> str:
    """What each p-value is."""
    row = next(iter(next(iter(comparisons.values())).values()))
    note = f"p: {permutations_note(comparisons)}"
    note += f"; p Holm: corrected for {len(comparisons)} comparisons" if "p_holm" in row else ""
    return note + ("; p seeds: exact permutation test over the seeds" if "p_seeds" in row else "")


def sentence(values: Mapping[str, object]) -> str:
    """`name value`, comma by comma."""
    results = {name.replace("_", " "): value for name, value in values.items() if value is not None}
    shown = (f"{n} {v:.3f}" if isinstance(v, float) else f"{n} {v}" for n, v in results.items())
    return ", ".join(shown)
