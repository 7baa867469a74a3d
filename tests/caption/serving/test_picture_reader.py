"""The demo's pictures are decoded in a process that may end."""

import io
import json
import os
import signal
from multiprocessing.process import BaseProcess

import numpy as np
import pytest
from PIL import Image

from caption.serving import picture_reader
from caption.serving.picture_reader import PictureReader
from prepro.images import BadImage, open_rgb
from prepro.transform import Transform


def encoded(picture, kind):
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


WHOLE = Transform("full", 0)
GOOD = encoded(Image.effect_noise((300, 200), 60).convert("RGB"), "JPEG")


@pytest.fixture
def reader():
    reader = PictureReader()
    yield reader
    reader.close()


@pytest.mark.parametrize("transform", [WHOLE, Transform("square", 32, 32), Transform()])
def test_pixels_are_those_of_the_transform(reader, transform):
    wanted = open_rgb(GOOD, transform.resize)
    pixels, size = reader.read(GOOD, transform)
    assert size == wanted.size and np.array_equal(pixels, transform.pixels(wanted))


@pytest.mark.parametrize(("data", "reason"), [(b"", "an empty file"), (b"<html>", "HTML")])
def test_what_is_no_picture_is_refused(reader, data, reason):
    with pytest.raises(BadImage, match=reason):
        reader.read(data, WHOLE)


def test_a_slow_picture_costs_itself_alone(reader):
    """804 bytes of JPEG 2000, whose 49 million pixels take seconds to decode."""
    slow = encoded(Image.new("RGB", (7000, 7000), "red"), "JPEG2000")
    assert len(slow) < 2000
    with pytest.raises(BadImage, match="too long"):
        reader.read(slow, WHOLE)
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)


def test_a_picture_that_hangs_is_given_up(reader, monkeypatch):
    monkeypatch.setattr(picture_reader, "WALL_SECONDS", 0.2)
    reader._start()
    os.kill(reader._process.pid, signal.SIGSTOP)
    with pytest.raises(BadImage, match="too long"):
        reader.read(GOOD, WHOLE)


def test_a_decoder_that_dies_is_started_again(reader):
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)
    reader._process.kill()
    reader._process.join()
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)


def test_the_time_for_decoding_ends_with_the_decoding(monkeypatch):
    asked = [json.dumps(WHOLE.to_dict()).encode(), GOOD, json.dumps(WHOLE.to_dict()).encode(), b""]
    left = []

    class Line:
        def recv_bytes(self):
            if not asked:
                raise EOFError
            return asked.pop(0)

        def send_bytes(self, _):
            left.append(signal.getitimer(signal.ITIMER_PROF))

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    try:
        picture_reader._serve(Line())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert left == [(0, 0)] * 3  # a picture in two parts, and what is no picture


def test_ctrl_c_is_not_for_the_decoder(reader):
    """The terminal sends it to all processes; the server ends its decoder itself."""
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)
    process = reader._process
    os.kill(process.pid, signal.SIGINT)
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)
    assert reader._process is process and process.is_alive()


def test_a_reader_may_be_closed_while_it_starts(reader, monkeypatch):
    """By another thread, as when the demo stops with its first picture."""
    start = BaseProcess.start
    monkeypatch.setattr(BaseProcess, "start", lambda process: (reader.close(), start(process)))
    assert reader.read(GOOD, WHOLE)[1] == (300, 200)
    process = reader._process
    reader.close()
    assert not process.is_alive()
