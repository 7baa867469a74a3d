"""The report's numbers against the tools they come from, and what it makes of hostile text."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from caption import report
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore
from caption.decoding.decode import decode
from caption.inference.image_source import features_match_encoder
from caption.report import Options, _view, gather
from caption.reporting.attention_overlay import EVEN_GRID
from caption.reporting.html import render
from caption.reporting.statistics import faults
from caption.reporting.thumbnails import PageImage
from eval.files import write_text
from eval.permutation import holm
from eval.scoring import score
from tests.caption.tiny_runs import Tiny, make


def options(tiny: Tiny, out, *names: str, **more) -> Options:
    against = tuple(tiny.runs[name] for name in names[1:])
    return Options(run=tiny.runs[names[0]], against=against, out=out, bootstrap=50, **more)


@pytest.fixture(scope="module")
def content(tiny, tmp_path_factory) -> dict:
    return gather(options(tiny, tmp_path_factory.mktemp("r") / "r.html", "topdown", "show_tell"))


def unpack(packed: dict, words: int) -> np.ndarray:
    shares = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8).reshape(words, -1)
    return shares / 255 * np.array(packed["greatest"])[:, None]


def test_scores_are_those_of_eval_score(content):
    references = {row["id"]: row["references"] for row in content["rows"]}
    for run in (0, 1):
        texts = {row["id"]: row["captions"][run]["text"] for row in content["rows"]}
        expected = score(references, texts)
        for name, (value, low, high) in content["scores"][run].items():
            assert value == expected.corpus[name]
            assert low <= high
        for row in content["rows"]:
            one = expected.per_image[row["id"]]["CIDEr-D"]
            assert row["captions"][run]["cider"] == pytest.approx(one, abs=1e-4)
    difference = content["comparisons"][0]["CIDEr-D"]["difference"]
    ours, theirs = (content["scores"][run]["CIDEr-D"][0] for run in (0, 1))
    assert difference == pytest.approx(theirs - ours)


@pytest.mark.parametrize(
    "name", ["show_attend_tell", "att2in", "adaptive", "topdown", "transformer"]
)
def test_attention_is_what_the_decoder_returned(name, tiny, tmp_path):
    content = gather(options(tiny, tmp_path / "r.html", name))
    captioner, data = tiny.captioner(name), DataFolder.open(tiny.data)
    rows = data.split("test")
    features = FeatureStore(data.features, True, "disk")(rows)
    with torch.inference_mode():
        found = decode(
            captioner.decoder, features, captioner.decoding, captioner.vocabulary,
            need_attention=True,
        )  # fmt: skip
    assert any(best.token_ids for best, *_ in found)
    for row, (best, *_) in zip(content["rows"], found, strict=True):
        shown = row["captions"][0]
        assert shown["words"] == captioner.vocabulary.decode(best.token_ids)
        probabilities = np.exp(best.log_probs[: len(best.token_ids)])
        assert shown["probabilities"] == pytest.approx(list(probabilities), abs=2e-4)
        if best.token_ids:
            theirs = best.attention.numpy()
            error = np.abs(unpack(shown["attention"], len(best.token_ids)) - theirs)
            assert (error <= theirs.max(1, keepdims=True) / 500 + 1e-5).all()


def test_given_results_are_shown_and_words_the_run_lacks_are_no_trouble(tiny, tmp_path, content):
    known = tiny.captioner().vocabulary.sentence([1, 2, 3])
    rows = [{"image_id": r["id"], "caption": known} for r in content["rows"]]
    rows[1]["caption"] = "A zebra; crossing?"
    rows[2]["caption"] = ""
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    found = gather(options(tiny, tmp_path / "r.html", "topdown", results=(path,)))["rows"]
    captions = [row["captions"][0] for row in found]
    assert [c["text"] for c in captions] == [row["caption"] for row in rows]
    assert captions[0]["attention"] and len(captions[0]["probabilities"]) == 3
    assert captions[1]["attention"] is None and captions[1]["probabilities"] == []
    assert captions[2]["faults"][0] == "empty"
    path.write_text(json.dumps(rows[:3]))
    with pytest.raises(ValueError, match="3 of the split's 6 images without a caption"):
        gather(options(tiny, tmp_path / "r.html", "topdown", results=(path,)))


def test_words_for_objects_that_are_not_there_are_marked(tiny, tmp_path, content):
    """Against references that name no object of COCO, and against instances."""
    rows = [
        {"image_id": r["id"], "caption": "two zebras beside a hot dog"} for r in content["rows"]
    ]
    rows[1]["caption"] = "nothing"
    path, instances = tmp_path / "results.json", tmp_path / "instances.json"
    path.write_text(json.dumps(rows))
    found = gather(options(tiny, tmp_path / "r.html", "topdown", results=(path,)))
    captions = [row["captions"][0] for row in found["rows"]]
    assert captions[0]["hallucinated"] == [1, 4, 5]
    assert "hallucination" in captions[0]["faults"]
    assert captions[1]["hallucinated"] == [] and "hallucination" not in captions[1]["faults"]
    assert found["chair"] == [{"CHAIRs": pytest.approx(5 / 6), "CHAIRi": 1}]
    assert found["chair_against"] == "the words of the references alone"
    names = [{"id": 1, "name": "zebra"}, {"id": 2, "name": "hot dog"}]
    there = [{"image_id": rows[0]["image_id"], "category_id": n} for n in (1, 2)]
    images = [{"id": row["image_id"]} for row in rows]
    content = {"images": images, "categories": names, "annotations": there[:1]}
    instances.write_text(json.dumps(content))
    given = options(tiny, tmp_path / "r.html", "topdown", results=(path,), instances=instances)
    found = gather(given)
    assert found["rows"][0]["captions"][0]["hallucinated"] == [4, 5]
    assert found["chair"][0]["CHAIRi"] == pytest.approx(9 / 10)


def test_several_comparisons_are_corrected(tiny, tmp_path):
    found = gather(options(tiny, tmp_path / "r.html", "topdown", "show_tell", "att2in"))
    for first, second in zip(*(c.values() for c in found["comparisons"]), strict=True):
        assert [first["p_holm"], second["p_holm"]] == holm([first["p"], second["p"]])


def test_no_text_can_end_the_script_or_begin_one(content, tmp_path):
    evil = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> {{script}} \u2028"
    evil += " {{digest}} ]]> & \" ' \u202e \U0001f600 \ud800" + " word" * 10_000
    row = content["rows"][0] | {"file": evil, "references": [evil]}
    runs = [content["runs"][0] | {"name": evil}, content["runs"][1]]
    page = render(content | {"rows": [row], "runs": runs})
    assert len(re.findall(r"(?i)<script", page)) == len(re.findall(r"(?i)</script", page)) == 3
    assert "<img src=x" not in page
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert json.loads(inside[1])["rows"][0]["file"] == evil
    write_text(tmp_path / "r.html", page)


def test_pictures_are_carried_or_linked(tiny, tmp_path, content, monkeypatch):
    assert all(row["src"].startswith("data:image/webp;base64,") for row in content["rows"])
    out = tmp_path / "deep" / "er.html"
    for how in ("link", "auto"):
        monkeypatch.setattr("caption.reporting.thumbnails.BUDGET", 1000)
        rows = gather(options(tiny, out, "topdown", pictures=how))["rows"]
        assert all((out.parent / row["src"]).resolve().is_file() for row in rows)
        assert rows[0]["width"] == rows[0]["height"] == 112


def test_a_picture_that_is_gone_is_said_so(tmp_path):
    made = make(tmp_path, ("show_tell",))
    for path in (made.data / "images").iterdir():
        path.unlink()
    rows = gather(options(made, tmp_path / "r.html", "show_tell"))["rows"]
    assert {(row["src"], row["trouble"]) for row in rows} == {("", "no such file")}
    assert rows[0]["captions"][0]["attention"] is None


def test_training_captions_are_known(tiny, tmp_path):
    """One caption, in other spelling, is of the training split; one is of the test split."""
    images = json.loads((tiny.data / "labels.json").read_text())["images"]
    test = [image for image in images if image["split"] == "test"]
    known = [
        caption for image in images if image["split"] == "train" for caption in image["captions"]
    ]
    said = [known[0].upper() + " .", *("zebras" for _ in test[1:])]
    results = tmp_path / "results.json"
    rows = [{"image_id": i["id"], "caption": text} for i, text in zip(test, said, strict=True)]
    results.write_text(json.dumps(rows))
    content = gather(options(tiny, tmp_path / "r.html", "topdown", results=(results,)))
    health = content["health"][0]
    assert health["novel"] == pytest.approx(1 - 1 / len(test))
    words = {word for caption in known for word in re.findall(r"\w+", caption.lower())}
    used = set(re.findall(r"\w+", known[0].lower()))
    assert health["training_vocabulary_used"] == pytest.approx(len(used) / len(words))
    faulty = [row["captions"][0]["faults"] for row in content["rows"]]
    assert ["training caption" in found for found in faulty] == [True] + [False] * (len(test) - 1)


def test_faults():
    assert faults([], set()) == ["empty"]
    assert faults(["a", "dog", "with", "a"], set()) == ["bad ending"]
    assert faults(["a", "dog", "b"] * 2, {("a", "dog", "b") * 2}) == [
        "repetition",
        "training caption",
    ]
    assert faults(["a", "dog"], set()) == []


def test_the_command_writes_the_page(tiny, tmp_path, capsys):
    report.main(options(tiny, tmp_path / "r.html", "topdown"))
    page = (tmp_path / "r.html").read_text()
    frame = page.split('id="data">')[0]
    assert "{{" not in frame and "://" not in frame
    assert capsys.readouterr().out.startswith(str(tmp_path / "r.html"))
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_wrong_options_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="--results"):
        Options(results=(tmp_path, tmp_path))
    with pytest.raises(ValueError, match="--bootstrap"):
        Options(bootstrap=0)


def test_features_of_a_dilated_twin_are_another_encoders(tiny):
    """Dilation changes no weight: the hash is the same, the maps are not."""
    captioner, features = tiny.captioner("topdown"), DataFolder.open(tiny.data).features
    assert features_match_encoder(captioner, features)
    name = captioner.encoder_info["encoder"]
    twin = replace(captioner, encoder_info=captioner.encoder_info | {"encoder": f"{name}-s16"})
    assert not features_match_encoder(twin, features)


def test_each_run_has_its_own_view_of_a_picture(tiny):
    picture = PageImage("", 640, 480)
    mine = tiny.captioner("topdown").encoder_info
    wide = _view(mine | {"encoder": "inception_resnet_v2"}, picture)
    assert wide["seen"] == _view(mine, picture)["seen"] and wide != _view(mine, picture)
    assert _view({"encoder": "another's", "transform": {}}, picture) == EVEN_GRID._asdict()


def test_a_run_whose_encoder_was_trained_looks_at_the_pictures(tiny, tmp_path, monkeypatch, capsys):
    """With the same encoder, so that stored features say what must come out."""
    stored = gather(options(tiny, tmp_path / "r.html", "topdown"))
    monkeypatch.setattr(
        "caption.inference.image_source.features_match_encoder", lambda member, features: False
    )
    looked = gather(options(tiny, tmp_path / "r.html", "topdown"))
    assert "is encoded again" in capsys.readouterr().err
    for old, new in zip(stored["rows"], looked["rows"], strict=True):
        assert new["captions"][0]["words"] == old["captions"][0]["words"]
        expected = pytest.approx(old["captions"][0]["probabilities"], abs=0.01)  # stored as halves
        assert new["captions"][0]["probabilities"] == expected


@pytest.mark.parametrize(
    "ciders, places",
    [
        ([(0.5,), (None,), (0.1,)], [2, 0, 1]),  # one run: the worst first
        ([(0.5, 0.2), (0.1, 0.9), (0.3, 0.3)], [2, 0, 1]),  # two: where the second gains most
    ],
)
def test_the_page_begins_with_the_worst(content, ciders, places):
    row = content["rows"][0]
    caption = row["captions"][0]
    rows = [
        row | {"captions": [caption | {"cider": score} for score in scores]} for scores in ciders
    ]
    page = render(content | {"rows": rows})
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert [row["place"] for row in json.loads(inside[1])["rows"]] == places
