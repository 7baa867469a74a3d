"""Captioner: what it takes, and what it returns."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from caption.captioner import SCENE_WORDS, Captioner
from caption.decoding.decode import DecodeOptions
from caption.pretrained.model_format import write_model
from prepro.encoders import create_encoder
from prepro.images import BadImage
from prepro.transform import Transform
from prepro.vocabulary import Vocabulary
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
        assert shown.width / shown.height == 1
    assert all(f"<div>{caption.text}</div>" in page for caption in found)
    best, other = (caption.text for caption in found)
    assert f'alt="{best}"' in page and page.index(f">{best}<") < page.index(f">{other}<")


@pytest.mark.parametrize("size", [(900, 450), (450, 900), (60, 30)])
def test_a_notebook_shows_no_picture_larger_than_320_pixels(tiny, size):
    (found,) = tiny.captioner().captions([Image.new("RGB", size)])
    data = base64.b64decode(re.search(r"base64,([^\"]*)", found._repr_html_())[1])
    with Image.open(io.BytesIO(data)) as shown:
        assert max(shown.size) == min(320, max(size))
        assert shown.width / shown.height == size[0] / size[1]
    assert found.image.size == size


def test_pictures_of_several_sizes_are_encoded_as_each_alone(tiny):
    captioner = tiny.captioner()
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 64), (64, 96), (64, 64), (128, 64)]
    pixels = [
        torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes
    ]
    found = captioner.encode_pixels(pixels)
    for i, one in enumerate(pixels):
        alone = captioner.encode_batch(one[None])
        assert torch.allclose(found.fc[i], alone.fc[0], atol=1e-5)
        assert torch.allclose(found.att[i], alone.att[0], atol=1e-5)
    without = replace(captioner, regions=0).encode_pixels(pixels[:2])
    assert without.att is None and torch.allclose(without.fc, found.fc[:2], atol=1e-5)


def test_a_model_knows_scenes_only_if_no_word_is_of_elsewhere(tiny):
    scenes = replace(tiny.captioner(), vocabulary=Vocabulary(tuple(sorted(SCENE_WORDS))))
    other = replace(scenes, vocabulary=Vocabulary((*sorted(SCENE_WORDS), "dog")))
    assert scenes.knows_scenes_only and not other.knows_scenes_only
    assert "cannot describe photographs; --run flickr8k can" in scenes.description
    assert "photographs" not in other.description and "trained on data" in other.description
    named = replace(other, run=other.run | {"trained_on": "toys"})
    assert named.origin == "toys" and "trained on toys" in named.description


def test_captions_of_features_are_samples_of_a_seed(tiny):
    captioner = tiny.captioner()
    generator = torch.Generator().manual_seed(0)
    d = captioner.decoder.shape.features
    features = torch.randn(4, d, generator=generator), torch.randn(4, 49, d, generator=generator)

    def said(**more):
        found = captioner.captions_of(*features, sample="temperature=1", **more)
        return [caption.token_ids for captions in found for caption in captions]

    assert said() == said(seed=0) == said(ids=range(4)) != said(seed=1)
    assert said(ids=[1, 0, 2, 3])[2:] == said()[2:] and said(ids=[1, 0, 2, 3]) != said()


def test_attention_comes_along_unless_it_is_not_wanted(tiny, photo):
    captioner = tiny.captioner()
    ((with_it, *_),) = captioner.captions([photo])
    ((without, *_),) = captioner.captions([photo], need_attention=False)
    assert with_it.attention is not None and without.attention is None
    assert with_it.token_ids == without.token_ids


def written(folder, captioner, **about):
    """The captioner without its encoder's weights, and with other facts about the encoder."""
    path = folder / "model.safetensors"
    write_model(
        path, captioner.decoder, captioner.vocabulary.words, captioner.encoder_info | about, {},
        captioner.regions, captioner.decoding, captioner.run,
    )  # fmt: skip
    return Captioner.load(path)


@pytest.mark.parametrize("about", [{"sha256": ""}, {"transform": {}}])
def test_a_run_on_features_of_another_system_encodes_no_pictures(tiny, tmp_path, photo, about):
    captioner = written(tmp_path, tiny.captioner(), public=True, **about)
    with pytest.raises(ValueError, match="features of another system, so it cannot encode"):
        captioner.captions([photo])


def test_public_weights_are_made_anew_and_compared(tiny, tmp_path):
    public = {"public": True, "weights": "none"}
    sha256 = create_encoder("resnet10-w8", "none").sha256
    mine = Transform("square", 48, 32).to_dict()
    same = written(tmp_path, tiny.captioner(), **public, sha256=sha256, transform=mine)
    assert same.encoder.sha256 == sha256 and same.encoder.transform.to_dict() == mine
    assert not same.encoder.network.training
    other = written(tmp_path, tiny.captioner(), **public, sha256="0" * 64)
    with pytest.raises(ValueError, match="other weights than none has today"):
        other.encoder  # noqa: B018
