"""The pictures of a report: their sizes, and when they are carried inside the page."""

import base64
import io
import tarfile
from functools import partial
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from caption.reporting import thumbnails
from caption.reporting.thumbnails import PageImage, page_images
from tests.caption.reporting.counted_bar import CountedBar


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 401, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a wide one.png")
    Image.new("RGB", (30, 40), "red").save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"<html>")
    return tmp_path


def carried(image: PageImage) -> Image.Image:
    head, _, data = image.src.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("mode", ["auto", "inline"])
def test_thumbnails_have_at_most_320_pixels_a_side(folder, mode):
    """The sizes are those of the files."""
    wide, small = page_images(folder, ["a wide one.png", "small.png"], folder / "r.html", mode)
    assert carried(wide).size == (320, 160) and (wide.width, wide.height) == (401, 200)
    assert carried(small).size == (30, 40) and (small.width, small.height) == (30, 40)


def test_linked_pictures_are_files_beside_the_page(folder):
    page = folder / "sub" / "r.html"
    wide, bad, out = page_images(folder, ["a wide one.png", "broken.png", "../x.png"], page, "link")
    assert wide == PageImage("../a%20wide%20one.png", 401, 200)
    assert (page.parent / unquote(wide.src)).resolve().is_file()
    assert (bad.src, bad.width, bad.height) == ("", 1, 1) and "HTML" in bad.trouble
    assert out == PageImage("", 1, 1, "not a name inside the image folder")


def test_pictures_in_a_tar_file_are_carried_even_if_links_are_asked_for(folder):
    with tarfile.open(folder / "all.tar", "w") as tar:
        tar.add(folder / "small.png", "small.png")
    names = ["all.tar/small.png", "small.png"]
    inside, beside = page_images(folder, names, folder / "r.html", "link")
    assert carried(inside).size == (30, 40)
    assert beside == PageImage("small.png", 30, 40)


@pytest.mark.parametrize(
    ("mode", "characters", "links"),
    [
        ("auto", 22_000_000, False), ("auto", 22_000_001, True),  # 22 MB, as --help says
        ("inline", 22_000_001, False), ("link", 2, True),
    ],
)  # fmt: skip
def test_up_to_22_megabytes_are_carried(folder, monkeypatch, mode, characters, links):
    made = []

    def thumbnail(path):
        made.append(path)
        return PageImage("x" * (characters - 1 if len(made) == 1 else 1), 1, 1)

    monkeypatch.setattr(thumbnails, "_thumbnail", thumbnail)
    found = page_images(folder, ["small.png"] * 2, folder / "r.html", mode)
    assert [image.src == "small.png" for image in found] == [links] * 2
    assert len(made) == (0 if mode == "link" else 2)


def test_the_bar_counts_thumbnails_and_is_silent_for_links(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(thumbnails, "ProgressBar", partial(CountedBar, seen))
    for mode in ("inline", "link"):
        page_images(folder, ["small.png"] * 3, folder / "r.html", mode)
    assert seen == [(3, True), 1, 1, 1, (3, False)]
