"""caption.sample --score: the same numbers as decoding and as a forward pass."""

import json

import pytest
import torch

from caption import sample
from caption.captioner import Captioner
from caption.inference.caption_likelihood import likelihoods
from eval import command
from prepro.images import open_rgb
from prepro.vocabulary import Vocabulary
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("score"), ("topdown", "newfc", "transformer"))


@pytest.fixture
def pictures(tiny):
    return [str(path) for path in sorted((tiny.data / "images").iterdir())[:3]]


def said(capsys, *words) -> str:
    assert sample.main(command.parse(sample.Options, [*map(str, words)])) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("kinds", [("newfc",), ("topdown",), ("transformer", "topdown")])
def test_a_decoded_caption_has_the_log_probability_of_its_decoding(tiny, pictures, capsys, kinds):
    runs = [word for kind in kinds for word in ("--run", tiny.runs[kind])]
    flags = [*pictures, *runs, "--json", "--device", "cpu"]
    decoded = [json.loads(line) for line in said(capsys, *flags).splitlines()]
    texts = [row["captions"][0]["caption"] for row in decoded]
    scored = said(capsys, *flags, *(word for text in texts for word in ("--score", text)))
    for index, line in enumerate(scored.splitlines()):
        row, expected = json.loads(line), decoded[index]["captions"][0]
        found = row["scores"][index]
        assert row["file"] == pictures[index] and found["words"] == expected["words"]
        count = len(expected["log_probs"])  # a caption that was cut off has no end
        assert found["log_probs"][:count] == pytest.approx(expected["log_probs"], abs=1e-4)
        assert len(found["log_probs"]) == len(found["words"]) + 1
        assert found["log_prob"] == pytest.approx(sum(found["log_probs"]))
        assert found["unknown"] == [] and found["unknown_share"] == 0


@pytest.mark.parametrize("kind", ["newfc", "topdown", "transformer"])
def test_log_probabilities_are_those_of_a_forward_pass(tiny, pictures, kind):
    captioner = tiny.captioner(kind)
    features = captioner.encode_images([open_rgb(picture) for picture in pictures])
    words = captioner.vocabulary
    texts = ["a red circle", "two", ""]
    found = likelihoods(captioner.decoder, features, texts, words)
    for text, index in zip(texts, range(3), strict=True):
        ids = words.encode(text.split())
        inputs = torch.tensor([[[0, *ids]]]).expand(3, 1, -1)
        log_probs = captioner.log_probs(inputs, features.fc, features.att)[:, 0]
        for image in range(3):
            expected = [log_probs[image, t, word].item() for t, word in enumerate([*ids, 0])]
            assert found[image][index].log_probs == pytest.approx(expected, abs=1e-5)


def test_unknown_words_are_named(tiny, pictures, capsys):
    text = "a zebra beside two Quaggas"
    out = said(capsys, pictures[0], "--run", tiny.runs["newfc"], "--score", text)
    first, second, third = out.splitlines()
    assert first.endswith(f"\t{text}") and second.startswith("  a -") and "(end) -" in second
    assert third == "  unknown words, 60%, left out: zebra, beside, quaggas"
    captioner = tiny.captioner("newfc")
    features = captioner.encode_images([open_rgb(pictures[0])])
    words = captioner.vocabulary.words
    with_unk = Vocabulary((*words[:-1], "UNK"))
    ((found,),) = likelihoods(captioner.decoder, features, [text], with_unk)
    assert found.words == ["a", "UNK", "UNK", "two", "UNK"] and len(found.log_probs) == 6
    assert found.unknown == ["zebra", "beside", "quaggas"] and found.unknown_share == 0.6


def test_the_model_in_the_box(tmp_path, pictures, capsys):
    model = ("--run", "flickr8k", "--device", "cpu")
    out = said(capsys, pictures[0], *model, "--score", "a dog runs", "--score", "dog a runs")
    likely, unlikely = (float(line.split("\t")[0]) for line in out.splitlines() if line[0] == "-")
    assert unlikely < likely < 0


def test_what_is_refused(tiny, pictures, tmp_path):
    run = ["--run", str(tiny.runs["topdown"])]
    for words, message in (
        ([pictures[0], *run, "--score", "a", "--attention", str(tmp_path)], "leave out --score"),
        ([pictures[0], *run, "--score", "a " * 1001], "1,001 words"),
    ):
        with pytest.raises(ValueError, match=message):
            sample.main(command.parse(sample.Options, words))


def test_an_ensemble_averages_probabilities(tiny, pictures):
    from caption.inference.caption_ensemble import CaptionEnsemble

    ensemble = CaptionEnsemble.load([tiny.runs["topdown"], tiny.runs["newfc"]])
    opened = [ensemble.open_image(pictures[0])]
    ((found,),) = likelihoods(
        ensemble.model, ensemble.encode(opened), ["a red circle"], ensemble.vocabulary
    )
    singles = []
    for member in ensemble.members:
        features = member.encode_images([opened[0][0]])
        ((one,),) = likelihoods(member.decoder, features, ["a red circle"], member.vocabulary)
        singles.append(torch.tensor(one.log_probs).double().exp())
    expected = torch.stack(singles).mean(0).log().tolist()
    assert found.log_probs == pytest.approx(expected, abs=1e-5)
    assert isinstance(ensemble.members[0], Captioner)
