"""The style of all figures of curves: a colour for each run, training solid, validation dashed.

In: points (x, y) of runs. Out: a PNG, PDF or SVG as wide as a page of a paper, with legible text
and colours that colour-blind readers can distinguish (Okabe & Ito, 2008).

    with figure(Path("curves.png"), ["a", "b"], ["loss (nats a word)"]) as (axes,):
        curve(axes, 0, [(1, 3.2), (2, 2.9)])
        curve(axes, 1, [(1, 3.0), (2, 2.7)], validation=True)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eval.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#000000")
DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # equal curves are equal files
MARKERS = "os^Dv"  # of validation points: they distinguish runs in greyscale
STYLE = {
    "font.size": 9, "axes.labelsize": 9, "legend.fontsize": 9, "lines.linewidth": 1.3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "lines.markersize": 3.5, "legend.frameon": False, "pdf.fonttype": 42, "savefig.dpi": 200,
    "svg.hashsalt": "caption",
}  # fmt: skip


@contextmanager
def figure(out: Path, runs: Sequence[str], labels: Sequence[str]) -> Iterator[list["Axes"]]:
    """Yields axes over epochs, one for each label; on leaving, adds the legend and writes the file.

    `labels` are the labels of the vertical axes, with units; `runs` are the names of the runs.
    ValueError for a file name extension that is no image format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        chart, axes = pyplot.subplots(
            1, len(labels), figsize=(max(3.6 * len(labels), 4.5), 2.9), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        try:
            for panel, label in zip(axes[0], labels, strict=True):
                panel.set(xlabel="epochs", ylabel=label)
            yield list(axes[0])
            _legend(chart, runs)
            with whole_file(out) as partial:
                kind = out.suffix.lstrip(".") or "png"
                chart.savefig(partial, format=kind, metadata=DATES.get(kind))
        finally:
            pyplot.close(chart)


def curve(
    axes: "Axes", run: int, points: Sequence[tuple[float, float | None]], validation: bool = False
) -> None:
    """Draw the curve of run number `run`; a y of None leaves a gap."""
    xs, ys = [x for x, _ in points], [float("nan") if y is None else y for _, y in points]
    axes.plot(xs, ys, **_line_style(run, validation), markevery=max(1, len(points) // 20))


def _line_style(run: int, validation: bool) -> dict:
    style = {"color": COLOURS[run % len(COLOURS)]}
    if validation:
        style |= {"linestyle": "--", "marker": MARKERS[run % len(MARKERS)]}
    return style


def _legend(chart, runs: Sequence[str]) -> None:
    """A legend below the panels: training, validation and, of several runs, their colours."""
    from matplotlib.lines import Line2D

    if len(runs) == 1:
        styles = [_line_style(0, False), _line_style(0, True)]
    else:
        styles = [{"color": "0.35"}, {"color": "0.35", "linestyle": "--"}]
    entries = dict(zip(("training", "validation"), styles, strict=True))
    marked = {name: _line_style(i, True) | {"linestyle": "-"} for i, name in enumerate(runs)}
    entries = entries | marked if len(runs) > 1 else entries
    lines = [Line2D([], [], **style) for style in entries.values()]
    names = [name.replace("$", r"\$") for name in entries]  # else a formula
    widest = max(map(len, names))
    columns = max(1, min(len(names), int(7 * 14 / (widest + 6))))
    chart.legend(lines, names, loc="outside lower center", ncols=columns)
