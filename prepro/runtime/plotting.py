"""How every figure of curves looks: a colour a run, training solid, validation dashed.

In: points (x, y) of runs. Out: a PNG, PDF or SVG as wide as a page of a paper, its text legible at
that size, its colours told apart by the colour-blind too (Okabe & Ito, 2008).

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
MARKS = "os^Dv"  # of validations, which tell runs apart in grey
STYLE = {
    "font.size": 9, "axes.labelsize": 9, "legend.fontsize": 9, "lines.linewidth": 1.3,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "lines.markersize": 3.5, "legend.frameon": False, "pdf.fonttype": 42, "savefig.dpi": 200,
    "svg.hashsalt": "caption",
}  # fmt: skip


@contextmanager
def figure(out: Path, runs: Sequence[str], labels: Sequence[str]) -> Iterator[list["Axes"]]:
    """Axes over epochs, a panel a label, to draw into; then the legend and the file, whole.

    `labels` name the vertical axes with their units, `runs` the runs that were drawn. ValueError
    for an ending that is no picture's.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        drawn, axes = pyplot.subplots(
            1, len(labels), figsize=(max(3.6 * len(labels), 4.5), 2.9), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        try:
            for one, label in zip(axes[0], labels, strict=True):
                one.set(xlabel="epochs", ylabel=label)
            yield list(axes[0])
            _legend(drawn, runs)
            with whole_file(out) as partial:
                drawn.savefig(partial, format=out.suffix.lstrip(".") or "png")
        finally:
            pyplot.close(drawn)


def curve(
    axes: "Axes", run: int, points: Sequence[tuple[float, float | None]], validation: bool = False
) -> None:
    """The curve of run number `run`; a y that is None leaves a gap."""
    xs, ys = [x for x, _ in points], [float("nan") if y is None else y for _, y in points]
    axes.plot(xs, ys, **_look(run, validation), markevery=max(1, len(points) // 20))


def _look(run: int, validation: bool) -> dict:
    look = {"color": COLOURS[run % len(COLOURS)]}
    return look | {"linestyle": "--", "marker": MARKS[run % len(MARKS)]} if validation else look


def _legend(drawn, runs: Sequence[str]) -> None:
    """Below the panels: what solid and dashed mean, and, of several runs, which colour is whose."""
    from matplotlib.lines import Line2D

    if len(runs) == 1:
        parts = [_look(0, False), _look(0, True)]
    else:
        parts = [{"color": "0.35"}, {"color": "0.35", "linestyle": "--"}]
    entries = dict(zip(("training", "validation"), parts, strict=True))
    marked = {name: _look(i, True) | {"linestyle": "-"} for i, name in enumerate(runs)}
    entries = entries | marked if len(runs) > 1 else entries
    lines = [Line2D([], [], **look) for look in entries.values()]
    names = [name.replace("$", r"\$") for name in entries]  # no formula
    widest = max(map(len, names))
    columns = max(1, min(len(names), int(7 * 14 / (widest + 6))))
    drawn.legend(lines, names, loc="outside lower center", ncols=columns)
