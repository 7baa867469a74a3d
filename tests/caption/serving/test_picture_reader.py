"""The demo's pictures are decoded in a process that may end."""

import io
import os
import signal

import pytest
from PIL import Image

from caption.serving import picture_reader
from caption.serving.picture_reader import PictureReader
from prepro.images import BadImage, open_rgb


def encoded(picture, kind):
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


GOOD = encoded(Image.effect_noise((300, 200), 60).convert("RGB"), "JPEG")


@pytest.fixture
def reader():
    reader = PictureReader()
    yield reader
    reader.close()


def test_pictures_are_those_of_open_rgb(reader):
    for target in (0, 64):
        wanted, found = open_rgb(GOOD, target), reader.open(GOOD, target)
        assert found.size == wanted.size and found.tobytes() == wanted.tobytes()
    with pytest.raises(BadImage, match="an empty file"):
        reader.open(b"")
    with pytest.raises(BadImage, match="HTML"):
        reader.open(b"<html>")


def test_a_slow_picture_costs_itself_alone(reader):
    """804 bytes of JPEG 2000, whose 49 million pixels take seconds to decode."""
    slow = encoded(Image.new("RGB", (7000, 7000), "red"), "JPEG2000")
    assert len(slow) < 2000
    with pytest.raises(BadImage, match="too long"):
        reader.open(slow)
    assert reader.open(GOOD).size == (300, 200)


def test_a_picture_that_hangs_is_given_up(reader, monkeypatch):
    monkeypatch.setattr(picture_reader, "WALL_SECONDS", 0.2)
    reader._start()
    os.kill(reader._process.pid, signal.SIGSTOP)
    with pytest.raises(BadImage, match="too long"):
        reader.open(GOOD)


def test_a_decoder_that_dies_is_started_again(reader):
    assert reader.open(GOOD).size == (300, 200)
    reader._process.kill()
    reader._process.join()
    assert reader.open(GOOD).size == (300, 200)
