"""The report of `eval.score` as an aligned table.

In: the report as its --json file has it. Out: text.
"""

from collections.abc import Mapping


def table(report: Mapping[str, Mapping]) -> str:
    """A row a metric: its score, and interval and comparison where the report has them."""
    rows = [_heading(report), *(_row(name, report) for name in report["metrics"])]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(_padded(cell, n, i) for i, (cell, n) in enumerate(zip(r, wide, strict=True)))
        for r in rows
    ]
    below = [
        _sentence(report[part]) for part in ("health", "diversity", "provenance") if part in report
    ]
    return "\n".join([*lines, "", *below])


def _heading(report: Mapping[str, Mapping]) -> list[str]:
    heading = ["metric", "score"]
    heading += ["95% interval"] if "intervals" in report else []
    return heading + (["against", "difference", "95% interval", "p"] if "against" in report else [])


def _row(name: str, report: Mapping[str, Mapping]) -> list[str]:
    row = [name, f"{report['metrics'][name]:.4f}"]
    if "intervals" in report:
        row.append(_range(report["intervals"].get(name)))
    if "against" in report:
        other = report["against"].get(name)
        row += [
            f"{other['score']:.4f}" if other else "",
            f"{other['difference']:+.4f}" if other else "",
            _range((other["low"], other["high"])) if other else "",
            ("< 0.001" if other["p"] < 0.001 else f"{other['p']:.4f}") if other else "",
        ]
    return row


def _range(ends) -> str:
    return f"{ends[0]:.4f} .. {ends[1]:.4f}" if ends else ""


def _padded(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


def _sentence(values: Mapping[str, object]) -> str:
    """`name value`, comma by comma."""
    results = {name.replace("_", " "): value for name, value in values.items() if value is not None}
    shown = (f"{n} {v:.3f}" if isinstance(v, float) else f"{n} {v}" for n, v in results.items())
    return ", ".join(shown)
