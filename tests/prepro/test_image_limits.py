"""The limits of a picture, to the pixel and the byte; arrays, deep grey, and odd headers."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from prepro import images
from prepro.images import BadImage, open_rgb, read_file, to_rgb, upright_size
from tests.prepro.test_images import encode, png_header

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
PROGRESSIVE = encode(NOISE, "JPEG", progressive=True)


@pytest.mark.parametrize(
    ("limit", "largest", "data", "reason"),
    [
        ("MAX_PIXELS", 60 * 40, encode(NOISE), r"60 x 40 pixels, more than 2,399 or"),
        ("MAX_SIDE", 60, encode(NOISE), r"60 x 40 pixels, more than .* or 59 a side"),
        ("MAX_BYTES", len(PROGRESSIVE), PROGRESSIVE, rf"^{len(PROGRESSIVE):,} bytes, more than"),
        ("MAX_SCANS", 10, PROGRESSIVE, "10 scans of 60 x 40 pixels"),
        ("MAX_SCANNED", 10 * 60 * 40, PROGRESSIVE, "10 scans of 60 x 40 pixels"),
    ],
)
def test_the_largest_is_read_and_one_more_is_not(
    limit, largest, data, reason, monkeypatch, tmp_path
):
    """Pillow writes a progressive JPEG in colour in ten scans."""
    (tmp_path / "picture").write_bytes(data)
    for source in (data, tmp_path / "picture"):
        monkeypatch.setattr(images, limit, largest)
        assert open_rgb(source).size == upright_size(source) == (60, 40)
        monkeypatch.setattr(images, limit, largest - 1)
        with pytest.raises(BadImage, match=reason):
            open_rgb(source)


def test_a_file_is_not_read_beyond_the_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    for size in (100, 101):
        (tmp_path / "file").write_bytes(bytes(size))
        if size == 100:
            assert len(read_file(tmp_path / "file")) == 100
        else:
            with pytest.raises(BadImage, match="101 bytes, more than 100"):
                read_file(tmp_path / "file")


def test_only_a_jpeg_has_scans(monkeypatch):
    monkeypatch.setattr(images, "MAX_SCANS", 0)
    scanlike = Image.fromarray(np.tile(np.array([0xFF, 0xDA], np.uint8), (8, 8)))
    data = encode(scanlike, "BMP")
    assert data.count(b"\xff\xda") > 8 and open_rgb(data).size == (16, 8)


def test_a_large_header_is_refused_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImage, match="10000 x 9000 pixels, more than"):
            open_rgb(png_header(10_000, 9_000))


def test_a_picture_without_pixels():
    with pytest.raises(BadImage, match="^0 x 5 pixels$"):
        to_rgb(Image.new("RGB", (0, 5)))


def test_without_a_target_a_jpeg_keeps_its_size():
    data = encode(NOISE.resize((640, 480)), "JPEG")
    assert open_rgb(data).size == to_rgb(data).size == upright_size(data) == (640, 480)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 4)])
def test_arrays_of_bytes_and_of_floats_are_the_same_picture(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    values.flat[:2] = 0, 255
    values[..., 3:] = 255  # opaque
    expected = values[..., :3] if values.ndim == 3 else values[..., None].repeat(3, 2)
    dark = values // 2 + 1
    for array in (values, values / 255, (values / 255).astype(np.float32), values[::-1][::-1]):
        assert np.array_equal(np.asarray(to_rgb(array)), expected)
    if len(shape) == 2:
        assert np.array_equal(np.asarray(to_rgb(dark / 255))[..., 0], dark)


@pytest.mark.parametrize("shape", [(6,), (1, 4, 6, 3), (4, 6, 1), (4, 6, 2), (4, 6, 5), (3, 4, 6)])
def test_arrays_of_other_shapes_are_refused(shape):
    with pytest.raises(BadImage, match="expected .H, W., .H, W, 3. or .H, W, 4."):
        to_rgb(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "values",
    [np.array([[0, 1]]), np.array([[0, 1.5]]), np.array([[-0.5, 1]]), np.zeros((0, 2)),
     np.array([[True, False]])],
)  # fmt: skip
def test_arrays_of_other_numbers_are_refused(values):
    with pytest.raises(BadImage, match="expected uint8, or floats from 0 to 1"):
        to_rgb(values)
    with pytest.raises(TypeError, match="a picture is a path"):
        to_rgb(values.tolist())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),  # of 8 bits
        (np.array([[0, 7, 256 * 256 - 1]], np.int32), [0, 0, 255]),  # of 16
        (np.array([[0, 7, 256]], np.int32), [0, 0, 0]),
        (np.array([[-1, 7, 255]], np.int32), [0, 0, 0]),
        (np.array([[0, 1, 1]], np.int32), [0, 1, 1]),
        (np.array([[0, 1000, 65535]], np.uint16), [0, 3, 255]),
        (np.array([[0, 100, 255]], np.uint16), [0, 0, 0]),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 1, 1.5]], np.float32), [0, 1, 1]),
        (np.array([[0, 0.25, 1]], np.float32), [0, 63, 255]),
    ],
)
def test_deep_grey_has_the_scale_that_its_values_need(values, expected):
    """Up to 255 they are bytes, above that 16 bits; floats up to 1 are fractions."""
    assert np.asarray(to_rgb(Image.fromarray(values)))[0, :, 0].tolist() == expected


def test_one_colour_is_transparent():
    """PNG's tRNS chunk of pictures without an alpha channel."""
    picture = Image.new("RGB", (2, 1), (9, 9, 9))
    picture.putpixel((0, 0), (200, 30, 40))
    found = np.asarray(open_rgb(encode(picture, transparency=(200, 30, 40))))
    assert found.tolist() == [[[255] * 3, [9] * 3]]
    grey = Image.fromarray(np.array([[5, 9]], np.uint8))
    assert np.asarray(open_rgb(encode(grey, transparency=5)))[0, :, 0].tolist() == [255, 9]
    half = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 51], [0, 0, 0, 255]]], np.uint8))
    assert np.asarray(to_rgb(half))[0, :, 0].tolist() == [255, 204, 0]


def exif_with_text():
    """An orientation that is a text: one entry, 0x0112, of type ASCII."""
    entry = struct.pack(">HHI4s", 0x0112, 2, 2, b"6\0\0\0")
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage that is no TIFF", exif_with_text()])
def test_an_orientation_that_is_none_turns_nothing(exif):
    data = encode(NOISE, exif=exif)
    assert np.array_equal(np.asarray(open_rgb(data)), np.asarray(NOISE))
    assert upright_size(data) == NOISE.size


def test_a_picture_that_pillow_opened_is_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = Image.open(io.BytesIO(encode(NOISE, exif=exif)))
    assert np.array_equal(np.asarray(to_rgb(opened)), np.rot90(np.asarray(NOISE), -1))


def test_what_is_cut_and_what_is_damaged_have_other_reasons():
    whole = encode(NOISE)
    damaged = whole[:100] + bytes([whole[100] ^ 255]) + whole[101:]
    for data in (whole[:700], encode(NOISE, "JPEG")[:600]):
        with pytest.raises(BadImage, match="^truncated$"):
            open_rgb(data)
    with pytest.raises(BadImage, match=r"^cannot be decoded \(.*broken"):
        open_rgb(damaged)
    with pytest.raises(BadImage, match="^not a picture, or none in JPEG"):
        open_rgb(b"words")
