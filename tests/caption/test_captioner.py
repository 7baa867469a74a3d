"""Captioner: what it takes, and what it returns."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from caption.captioner import Captioner
from caption.decoding.decode import DecodeOptions
from prepro.images import BadImage
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("captioner"), ("topdown",))


@pytest.fixture(scope="module")
def photo(tiny):
    return next(iter(sorted((tiny.data / "images").iterdir())))


def test_a_folder_and_a_file_are_the_same_model(tiny, photo):
    run = tiny.runs["topdown"]
    one, two = (Captioner.load(name) for name in (str(run), run / "model.safetensors"))
    assert one.sentences([photo]) == two.sentences([photo])


def test_all_kinds_of_pictures_have_one_caption(tiny, photo):
    picture = Image.open(photo)
    values = np.asarray(picture)
    kinds = [
        photo, str(photo), photo.read_bytes(), picture, picture.convert("RGBA"), values,
        values / 255,
    ]  # fmt: skip
    assert len(set(tiny.captioner().sentences(kinds))) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "F"])
def test_any_mode_is_captioned(tiny, photo, mode):
    picture = Image.open(photo).convert("L" if mode == "I;16" else "RGB").convert(mode)
    assert tiny.captioner().sentences([picture])[0]


@pytest.mark.parametrize("bad", [np.zeros((2, 3, 8)), np.zeros((8, 8), int), np.full((8, 8), 7.0)])
def test_other_arrays_are_refused_in_words(tiny, bad):
    with pytest.raises(BadImage, match="an array of .*; expected"):
        tiny.captioner().captions([bad])


def test_one_picture_that_is_no_list_is_refused(tiny, photo):
    with pytest.raises(ValueError, match="a list of pictures"):
        tiny.captioner().captions(str(photo))


def test_options_may_be_words(tiny, photo):
    captioner = tiny.captioner()
    (found,) = captioner.captions([photo], beam=5, n=3)
    (expected,) = captioner.captions([photo], DecodeOptions(5, 8, n=3, block_repeats=True))
    assert [c.text for c in found] == [c.text for c in expected] and len(found) == 3
    best = found[0]
    assert best.log_prob == pytest.approx(sum(best.log_probs))
    assert best.text.split() == best.words and best.attention.shape == (len(best.words), 49)
    assert captioner.vocabulary.encode(best.words) == best.token_ids


def test_an_unknown_option_is_named(tiny, photo):
    with pytest.raises(ValueError, match="no option 'beams'; did you mean 'beam'"):
        tiny.captioner().captions([photo], beams=5)


@pytest.mark.parametrize("thing", [None, 7, ["photo.jpg"]])
def test_what_is_no_picture_is_named(tiny, thing):
    with pytest.raises(TypeError, match="a picture is a path, bytes, a PIL image or an array"):
        tiny.captioner().captions([thing])


def test_reprs_are_short(tiny, photo):
    captioner = tiny.captioner()
    (found,) = captioner.captions([photo])
    assert len(repr(captioner)) < 300 and "topdown" in repr(captioner)
    assert repr(found) == f"[Caption({found[0].text!r}, log_prob={found[0].log_prob:.3f})]"


def test_a_notebook_shows_the_picture_and_its_captions(tiny, photo):
    (found,) = tiny.captioner().captions([photo], n=2)
    page = found._repr_html_()
    data = base64.b64decode(re.search(r"base64,([^\"]*)", page)[1])
    with Image.open(io.BytesIO(data)) as shown:
        assert max(shown.size) <= 320 and shown.width / shown.height == 1
    assert all(f"<div>{caption.text}</div>" in page for caption in found)
