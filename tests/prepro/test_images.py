"""Every kind of image file is read correctly or fails with its reason."""

import io
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from prepro.images import BadImage, inside, open_rgb, read_file, to_rgb, upright_size

RED, BLUE = (200, 30, 40), (20, 60, 210)


def two_colours(width=60, height=40):
    """Red above, blue below."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (0, height // 2, width, height))
    return picture


def encode(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def assert_two_colours(picture, tolerance=12):
    pixels = np.asarray(picture).astype(int)
    assert picture.mode == "RGB"
    assert abs(pixels[3, 5] - RED).max() <= tolerance
    assert abs(pixels[-3, -5] - BLUE).max() <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_formats(kind):
    assert_two_colours(open_rgb(encode(two_colours(), kind)))


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "YCbCr"])
def test_colour_modes(mode):
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert_two_colours(open_rgb(encode(two_colours().convert(mode), kind)), 25)
    if mode == "CMYK":
        assert_two_colours(open_rgb(encode(two_colours().convert(mode), "JPEG")), 25)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_modes(mode):
    grey = Image.new("L", (20, 10), 255).convert(mode)
    assert np.asarray(open_rgb(encode(grey))).min() == 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    pixels = np.asarray(open_rgb(encode(Image.fromarray(ramp), kind)))
    assert abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_a_dark_sixteen_bit_picture_stays_dark():
    dark = Image.fromarray(np.full((4, 4), 200, np.uint16))
    assert np.asarray(open_rgb(encode(dark))).max() <= 1


def test_floating_point_grey():
    ramp = Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(2, 0))
    pixels = np.asarray(open_rgb(encode(ramp, "TIFF")))[0, :, 0].astype(int)
    assert abs(pixels - np.arange(256)).max() <= 1


def test_transparent_pixels_become_white():
    picture = two_colours().convert("RGBA")
    picture.putalpha(0)
    assert np.asarray(open_rgb(encode(picture))).min() == 255
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([9, 9, 9, 200, 30, 40])
    assert np.asarray(open_rgb(encode(palette, transparency=0))).min() == 255


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame(kind):
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("green", "black")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(two_colours(), kind, save_all=True, append_images=frames, **options)
    assert_two_colours(open_rgb(data), 25)


def store_turned(picture, orientation):
    """What a camera writes: the picture turned by numpy so that `orientation` undoes it."""
    a = np.asarray(picture)
    stored = {
        1: a,
        2: a[:, ::-1],
        3: a[::-1, ::-1],
        4: a[::-1],
        5: a.transpose(1, 0, 2),
        6: a.transpose(1, 0, 2)[::-1],
        7: a.transpose(1, 0, 2)[::-1, ::-1],
        8: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return Image.fromarray(np.ascontiguousarray(stored)), exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(orientation, kind):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8))
    stored, exif = store_turned(picture, orientation)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(stored, kind, exif=exif, **options)
    assert np.array_equal(np.asarray(open_rgb(data)), np.asarray(picture))
    assert upright_size(data) == (20, 12)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("target", [0, 100, 256])
def test_upright_size_is_that_of_the_decoded_picture(orientation, target):
    stored, exif = store_turned(two_colours(1281, 961), orientation)
    data = encode(stored, "JPEG", exif=exif)
    assert upright_size(data, target) == open_rgb(data, target).size


def test_draft_decodes_a_large_jpeg_smaller_but_never_below_the_target():
    data = encode(two_colours(1600, 1200), "JPEG")
    assert open_rgb(data, 256).size == (400, 300)
    assert open_rgb(data, 601).size == (1600, 1200)
    assert_two_colours(open_rgb(data, 256))


def test_unreadable_exif_turns_nothing():
    data = encode(two_colours(), "JPEG", exif=b"Exif\0\0garbage that is no TIFF")
    assert_two_colours(open_rgb(data))


def png_header(width, height):
    """A PNG that promises width x height pixels, and is a few dozen bytes long."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20_000, 20_000), (8_000, 8_000), (30_000, 10)])
def test_a_bomb_is_refused_from_its_header(size):
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(BadImage, match="pixels"):
        open_rgb(png_header(*size))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    assert time.process_time() - start < 5
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><p>404", "a page of HTML"),
        (b"\n<html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (bytes(range(100)), "not a picture"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(BadImage, match=reason):
        open_rgb(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_file_cut_anywhere_is_refused(kind):
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    for part in np.linspace(0, 0.98, 20):
        with pytest.raises(BadImage):
            open_rgb(data[: int(len(data) * part)])


def test_paths_that_are_no_pictures(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "folder.jpg": "folder",
        "link.jpg": "dangling",
        "pipe.jpg": "regular",
        "no": "no such",
    }
    (tmp_path / "regular").write_bytes(b"bytes")
    assert read_file(tmp_path / "regular") == b"bytes"  # a pipe would be waited for
    for name, reason in reasons.items():
        with pytest.raises(BadImage, match=reason):
            open_rgb(tmp_path / name)
    for name in ("x" * 300, "loop"):
        with pytest.raises(BadImage, match="cannot be read"):
            open_rgb(tmp_path / name)


def test_names_stay_inside_the_root(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "a")
    assert inside(root, "a/x.jpg") == root / "a" / "x.jpg"
    assert inside(root, "in/x.jpg") == root / "in" / "x.jpg"
    for name in ("../x", "/etc/passwd", "a/../../x", "out/x", "a\\x", "a\0x", ""):
        with pytest.raises(ValueError, match="inside|leads out"):
            inside(root, name)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (2010, 10), (10, 2010)])
def test_a_line_is_no_picture(size):
    """Its 60 KB would be 5 GB, once the short side is resized to 256."""
    data = encode(Image.new("RGB", size))
    for source in (data, Image.new("RGB", size)):
        with pytest.raises(BadImage, match="one side more than 200 times the other"):
            to_rgb(source)
    with pytest.raises(BadImage, match="more than 200 times"):
        upright_size(data)


@pytest.mark.parametrize("size", [(2000, 10), (10, 2000), (1, 1)])
def test_a_panorama_is_one(size):
    assert to_rgb(encode(Image.new("RGB", size))).size == size
