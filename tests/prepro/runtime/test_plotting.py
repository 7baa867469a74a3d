"""Figures of curves: line styles, legends, axes and files."""

import pytest

from prepro.runtime.plotting import curve, figure


def draw_runs(tmp_path, runs: list[str]):
    with figure(tmp_path / "out.png", runs, ["loss (nats)", "CIDEr-D"]) as panels:
        for number in range(len(runs)):
            curve(panels[0], number, [(0.5, 3.0), (1.0, 2.5)])
            curve(panels[0], number, [(1, 2.75), (2, None), (3, 2.25)], validation=True)
    return panels


@pytest.mark.parametrize("runs", [["a"], ["a", "b"], ["a", "b", "$c$"], list("abcdefghi")])
def test_the_legend_names_every_curve_once(tmp_path, runs):
    (legend,) = draw_runs(tmp_path, runs)[0].figure.legends
    names = [text.get_text().replace(r"\$", "$") for text in legend.get_texts()]
    assert names == ["training", "validation", *(runs if len(runs) > 1 else ())]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_training_is_solid_validation_dashed_and_runs_differ_in_colour(tmp_path):
    lines = draw_runs(tmp_path, ["a", "b"])[0].lines
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 2
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert lines[1].get_marker() != lines[3].get_marker()


def test_axes_have_units(tmp_path):
    for axes, label in zip(draw_runs(tmp_path, ["a"]), ["loss (nats)", "CIDEr-D"], strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epochs", label)


def test_an_unknown_image_format_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="xyz"), figure(tmp_path / "out.xyz", ["a"], ["loss"]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_legend_shows_the_lines_as_they_are_drawn(tmp_path):
    """Of one run its two lines; of several, markers and colours of their validation."""
    axes = draw_runs(tmp_path, ["a"])[0]
    pairs = zip(axes.figure.legends[0].get_lines(), axes.lines, strict=True)
    assert all(style(shown) == style(drawn) for shown, drawn in pairs)
    axes = draw_runs(tmp_path, ["a", "b"])[0]
    training, validation, *runs = axes.figure.legends[0].get_lines()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert training.get_color() == validation.get_color()
    assert [style(run)[:2] for run in runs] == [style(line)[:2] for line in axes.lines[1::2]]
    assert {run.get_linestyle() for run in runs} == {"-"}


def style(line):
    return line.get_color(), line.get_marker(), line.get_linestyle()


@pytest.mark.parametrize(
    ("runs", "rows"), [(["a"], 1), (["a", "b", "c"], 1), (["n" * 30] * 2, 2), (["n" * 200], 1)]
)
def test_the_legend_is_as_wide_as_the_figure_at_most(tmp_path, runs, rows):
    figure = draw_runs(tmp_path, runs)[0].figure
    (legend,) = figure.legends
    assert len(legend.get_texts()) <= rows * legend._ncols < (rows + 1) * len(legend.get_texts())
    assert legend.get_window_extent().width <= figure.bbox.width


def test_many_runs_take_several_rows(tmp_path):
    figure = draw_runs(tmp_path, [f"validation{i}" for i in range(9)])[0].figure
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width


def test_a_missing_value_is_a_gap_and_markers_are_about_twenty(tmp_path):
    axes = draw_runs(tmp_path, ["a"])[0]
    assert [y != y for y in axes.lines[1].get_ydata()] == [False, True, False]
    with figure(tmp_path / "out.png", ["a"], ["loss"]) as (axes,):
        for count in (1, 39, 40, 400):
            curve(axes, 0, [(i, 1.0) for i in range(count)], validation=True)
    shown = [len(line.get_xdata()[:: line.get_markevery()]) for line in axes.lines]
    assert shown == [1, 39, 20, 20]


@pytest.mark.parametrize(
    ("name", "start"), [("out", b"\x89PNG"), ("out.svg", b"<?xml"), ("out.pdf", b"%PDF")]
)
def test_the_suffix_is_the_format_and_equal_curves_are_equal_files(tmp_path, name, start):
    from matplotlib import pyplot

    written = []
    for _ in range(2):
        with figure(tmp_path / name, ["a"], ["loss"]) as (axes,):
            curve(axes, 0, [(1, 2.0), (2, 1.0)])
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] and written[0].startswith(start)
    assert pyplot.get_fignums() == []
