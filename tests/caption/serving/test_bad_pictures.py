"""What the demo makes of pictures of every kind: turned, animated, grey, CMYK, and bombs."""

import io
import struct
import zlib

import pytest
from PIL import ExifTags, Image

from prepro.images import open_rgb


@pytest.fixture(scope="module")
def plain(tiny) -> Image.Image:
    return open_rgb(sorted((tiny.data / "images").iterdir())[0])


def encoded(picture: Image.Image, kind: str, **more) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **more)
    return data.getvalue()


def turned(picture: Image.Image) -> bytes:
    """Lying on its side, with the EXIF note that says so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return encoded(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def test_pictures_of_every_kind_say_what_the_plain_one_says(client, plain):
    other = Image.new("RGB", plain.size, "red")
    kinds = {
        "PNG": encoded(plain, "PNG"),
        "animated": encoded(plain, "PNG", save_all=True, append_images=[other]),
        "TIFF": encoded(plain, "TIFF"),
        "turned": turned(plain),
        "clear": encoded(plain.convert("RGBA"), "PNG"),
    }
    answers = {
        kind: client.post("/api/caption", content=data).json() for kind, data in kinds.items()
    }
    for answer in answers.values():
        assert answer["captions"] == answers["PNG"]["captions"]


@pytest.mark.parametrize(
    "kind, mode", [("JPEG", "CMYK"), ("JPEG", "L"), ("GIF", "P"), ("PNG", "I;16")]
)
def test_every_mode_gets_a_caption(client, plain, kind, mode):
    grey = plain.convert("L").convert(mode) if mode == "I;16" else plain.convert(mode)
    assert client.post("/api/caption", content=encoded(grey, kind)).json()["captions"]


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = struct.pack(">I", zlib.crc32(head)) + bytes(4) + b"IDAT" + bytes(4)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + rest


@pytest.mark.parametrize("size", [(30_000, 30_000), (2_000_000_000, 2_000_000_000), (50_001, 1)])
def test_a_bomb_is_refused_by_its_header(client, size):
    answer = client.post("/api/caption", content=bomb(*size))
    assert answer.status_code == 422 and "pixels" in answer.json()["error"]
