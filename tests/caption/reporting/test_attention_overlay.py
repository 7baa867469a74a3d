"""Attention over a picture: where it lies, what light it lets through, what the files say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from caption import sample
from caption.reporting import attention_overlay
from caption.reporting.attention_overlay import (
    DIM,
    EVEN_GRID,
    View,
    as_grids,
    attention_heatmap,
    encoder_view,
    overlay_attention,
    write_overlay,
)
from eval import command
from prepro.encoders import create_encoder
from prepro.images import open_rgb
from prepro.transform import Transform

WHITE = Image.new("RGB", (70, 70), "white")


def test_a_region_lights_up_as_a_gaussian_around_its_middle():
    weights = np.zeros((7, 7))
    weights[2, 4] = 0.3
    lit = np.asarray(overlay_attention(WHITE, weights, EVEN_GRID), float)[..., 0]
    x, y = np.meshgrid(np.arange(70) + 0.5, np.arange(70) + 0.5)  # a region is 10 pixels wide
    shares = np.exp(-((x - 45) ** 2 + (y - 25) ** 2) / (2 * 10**2))
    expected = 255 * (1 - DIM * (1 - shares / shares.max()))
    assert np.abs(lit - expected).max() <= 0.51


def test_a_grid_that_lies_elsewhere_moves_its_regions():
    """Over the left fifth to the middle, and over all of the height but a tenth at the top."""
    weights = np.zeros((5, 5))
    weights[3, 1] = 1
    heat = attention_heatmap(weights, View((0, 0, 1, 1), (0.2, 0.1, 0.3, 0.9)), 200, 100)
    down, across = np.nonzero(heat > 0.99)
    assert across.mean() + 0.5 == pytest.approx(200 * (0.2 + 0.3 * 1.5 / 5), abs=0.6)
    assert down.mean() + 0.5 == pytest.approx(100 * (0.1 + 0.9 * 3.5 / 5), abs=0.6)


def test_lights_add_up():
    """Two regions looked at by halves outshine between them a third with a little more."""
    weights = np.zeros((7, 7))
    weights[1, 1], weights[5, 4], weights[5, 5] = 0.36, 0.32, 0.32
    spread = attention_heatmap(weights, EVEN_GRID, 70, 70)
    y, x = np.unravel_index(spread.argmax(), spread.shape)
    assert y in (54, 55) and x in (49, 50) and spread.max() == 1


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (200, 200)])
@pytest.mark.parametrize("transform", [Transform(), Transform("square"), Transform("full")])
def test_the_box_is_what_the_transform_keeps(size, transform):
    """A picture whose colours are its own coordinates: the crop's corners tell where it was cut."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    picture = Image.fromarray(np.stack([x, y, x], -1).astype(np.uint8))
    pixels = transform.pixels(picture)
    left, top, width, height = encoder_view("resnet10-w8", transform, *size).seen
    assert pixels[0].min() / 255 == pytest.approx(left, abs=0.015)
    assert pixels[0].max() / 255 == pytest.approx(left + width, abs=0.015)
    assert pixels[1].min() / 255 == pytest.approx(top, abs=0.015)
    assert pixels[1].max() / 255 == pytest.approx(top + height, abs=0.015)


def test_what_the_encoder_did_not_see_is_dark():
    view = View((0.2, 0, 0.6, 1), (0.1, 0, 0.8, 1))
    lit = np.asarray(overlay_attention(WHITE, np.ones((7, 7)), view))[:, :, 0]
    dark = round(255 * (1 - DIM))
    assert (np.abs(lit[:, :14].astype(int) - dark) <= 1).all()
    assert (lit[:, 14:56] > dark).all() and lit.max() == 255
    assert (np.abs(lit[:, 56:].astype(int) - dark) <= 1).all()
    upright = View((0, 0.2, 1, 0.6), (0, 0.1, 1, 0.8))
    turned = np.asarray(overlay_attention(WHITE, np.ones((7, 7)), upright))[:, :, 0]
    assert np.array_equal(turned, lit.T)


def test_a_shape_lights_up_where_the_encoder_looked():
    """The cell of a ResNet that a dot moves most is drawn at the dot, not half a cell beside it."""
    network = create_encoder("resnet10-small-w8").network
    for x, y in ((0, 0), (32, 80), (96, 48)):
        picture = torch.zeros(1, 3, 112, 112)
        picture[..., y, x] = 1
        with torch.no_grad():
            moved = (network.features(picture) - network.features(0 * picture)).abs().sum(1)[0]
        view = encoder_view("resnet10-small-w8", Transform("short", 112, 112), 112, 112)
        spread = attention_heatmap(moved.numpy(), view, 112, 112)
        down, across = np.unravel_index(spread.argmax(), spread.shape)
        assert abs(across - x) < 6 and abs(down - y) < 6


def test_the_files_hold_what_the_decoder_returned(tmp_path):
    attention = torch.rand(6, 49).softmax(-1)
    words = ["a", "<b>", "\u9ed1\u8272\u306e\u732b", "x" * 200, "five", "six"]
    picture = Image.new("RGB", (300, 200))
    path = write_overlay(picture, words, attention, tmp_path, "dog.jpg", EVEN_GRID)
    about = json.loads((tmp_path / "dog.jpg.json").read_text())
    assert about["words"] == words
    assert torch.equal(torch.tensor(about["attention"]), attention)
    with Image.open(path) as sheet:
        assert path.name == "dog.jpg.png" and sheet.format == "PNG"
        assert sheet.width > 5 * 224 and sheet.height > 2 * 149  # seven panels: rows of 5 and 2
    assert len(list(tmp_path.iterdir())) == 2
    assert about["seen"] == about["grid"] == [0, 0, 1, 1]
    assert encoder_view("resnet10-w8", Transform("full", 0), 640, 480).seen == (0, 0, 1, 1)


@pytest.mark.parametrize(
    "name", ["show_attend_tell", "att2in", "adaptive", "topdown", "transformer"]
)
def test_the_command_writes_what_the_decoder_returned(name, tiny, tmp_path, capsys):
    picture = sorted((tiny.data / "images").iterdir())[0]
    words = [str(picture), "--run", str(tiny.runs[name]), "--attention", str(tmp_path)]
    assert command.run(sample.Options, sample.main, words) == 0
    captioner = tiny.captioner(name)
    ((best, *_),) = captioner.captions([open_rgb(picture)], need_attention=True)
    about = json.loads((tmp_path / f"{picture.stem}.json").read_text())
    assert about["words"] == captioner.vocabulary.decode(best.token_ids)
    assert torch.allclose(torch.tensor(about["attention"]), best.attention, atol=1e-6)
    with Image.open(tmp_path / f"{picture.stem}.png") as sheet:
        assert sheet.width > 224 * min(1 + len(best.token_ids), 5)


def test_regions_that_are_no_grid_are_refused():
    with pytest.raises(ValueError, match="36 regions|37 regions"):
        as_grids(np.ones((3, 37)))


def runs(lit: np.ndarray) -> list[tuple[int, int]]:
    """(first, length) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lit.astype(int), [0]])))
    return [(int(first), int(stop - first)) for first, stop in edges.reshape(-1, 2)]


def test_a_sheet_has_rows_of_equal_panels_and_words_below(tmp_path):
    """Six words and the picture: five panels and two, with equal gaps and margins."""
    words = ["one", "two", "three", "four", "five", "six"]
    picture = Image.new("RGB", (300, 200), (40, 80, 200))
    attention = torch.full((6, 49), 1 / 49)
    path = write_overlay(picture, words, attention, tmp_path, "blue", EVEN_GRID)
    pixels = np.asarray(Image.open(path)).astype(int)
    blue = pixels[..., 2] - pixels[..., 0] > 20
    rows = runs(blue.any(1))
    columns = [runs(blue[first : first + height].any(0)) for first, height in rows]
    assert [len(found) for found in columns] == [5, 2] and columns[1] == columns[0][:2]
    assert {length for _, length in columns[0]} == {224}  # pixels of the longer side
    assert {length for _, length in rows} == {round(224 * 200 / 300)}
    starts = [first for first, _ in columns[0]]
    gap = starts[0]
    assert np.diff(starts).tolist() == [224 + gap] * 4 and rows[0][0] == gap > 0
    assert pixels.shape[1] - (starts[-1] + 224) == gap
    below = pixels.shape[0] - sum(rows[1])
    assert below == rows[1][0] - sum(rows[0]) > 16
    dark = (pixels < 100).all(-1) & ~blue
    for number, (top, height) in enumerate(rows):
        for start, width in columns[number]:
            text = dark[top + height : top + height + below, start : start + width]
            is_picture = (number, start) == (0, gap)
            assert text.any() != is_picture
            assert not text[-2:].any()
    first = pixels[rows[0][0] : sum(rows[0]), gap : gap + 224]
    assert (first == (40, 80, 200)).all()


def test_a_word_is_shortened_as_little_as_its_panel_needs():
    font = ImageFont.load_default(16)
    for word in ("mississippi", "wwwwwiiiii", "a.b.c.d.e.f", "dog"):
        for width in range(30, 120, 7):
            shown = attention_overlay._shortened(word, font, width)
            fits = [n for n in range(len(word)) if font.getlength(word[:n] + ".") <= width]
            if font.getlength(word) <= width:
                assert shown == word
            elif not word[: fits[-1]].endswith("."):
                assert shown == word[: fits[-1]] + "."


def test_a_word_that_just_fits_is_whole():
    font = ImageFont.load_default(16)
    assert attention_overlay._shortened("dog", font, font.getlength("dog")) == "dog"


def test_no_attention_at_all_is_dark_and_no_error():
    lit = np.asarray(overlay_attention(WHITE, np.zeros((7, 7)), EVEN_GRID))
    assert (lit == round(255 * (1 - DIM))).all()
    faint = np.zeros((7, 7))
    faint[3, 3] = 1e-6
    assert np.asarray(overlay_attention(WHITE, faint, EVEN_GRID)).max() == 255


def test_a_thin_picture_keeps_a_pixel(tmp_path):
    """As one whose height rounds to a pixel."""
    sizes = []
    for height in (1, 9):
        picture, attention = Image.new("RGB", (2000, height)), torch.ones(1, 4)
        path = write_overlay(picture, ["a"], attention, tmp_path, "thin", EVEN_GRID)
        with Image.open(path) as sheet:
            sizes.append(sheet.size)
    assert sizes[0] == sizes[1] and sizes[0][0] > 2 * 224
