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
