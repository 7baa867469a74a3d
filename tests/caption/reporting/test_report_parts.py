"""The parts of a report: limits of options, packed attention, marks, and the order in the page."""

import base64
import json
import math
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caption import curves, report
from caption.data.data_folder import DataFolder
from caption.report import Options, gather
from caption.reporting import captions, html
from caption.reporting.attention_overlay import EVEN_GRID
from caption.reporting.captions import load_captions
from caption.reporting.statistics import statistics
from caption.reporting.thumbnails import PageImage
from eval.baselines import best_constant, people
from eval.results_provenance import file_sha256, write_about
from prepro.storage.feature_identity import features_identity
from tests.caption.reporting.counted_bar import CountedBar


@pytest.fixture(scope="module")
def ids(tiny) -> list:
    opened = DataFolder.open(tiny.data)
    return [opened.labels.records[row].id for row in opened.split("test")]


def results_file(path, ids, texts):
    rows = [{"image_id": i, "caption": text} for i, text in zip(ids, texts, strict=True)]
    path.write_text(json.dumps(rows))
    return path


def test_options_are_taken_up_to_their_limits(tmp_path):
    for times in (1, 100_000):
        assert Options(bootstrap=times).bootstrap == times
    for times in (0, 100_001):
        with pytest.raises(ValueError, match="--bootstrap takes 1 to 100,000 resamplings"):
            Options(bootstrap=times)
    for others in (0, 1, 2):
        against = (tmp_path,) * others
        Options(against=against, results=(tmp_path,) * (1 + others))
        with pytest.raises(ValueError, match="--results: give one file for --run and one for each"):
            Options(against=against, results=(tmp_path,) * (2 + others))


def test_attention_is_packed_to_a_255th_of_each_words_maximum():
    attention = np.array([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]])
    packed = report._packed(attention, None)
    assert packed["greatest"] == [0.5, 0.4, 0] and "boxes" not in packed
    shares = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8).reshape(3, 4)
    assert shares.tolist() == [[255, 128, 64, 64], [64, 128, 191, 255], [0] * 4]
    assert report._packed(np.ones((2, 5)), None) is None  # no square grid
    boxes = np.array([[0, 0.25, 0.5, 1], [0, 0, 1, 1]], np.float32)
    packed = report._packed(np.array([[0.1, 0.2, 0.9]]), boxes)  # the third region is padding
    assert packed["greatest"] == [0.2]
    assert np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8).tolist() == [128, 255]
    sixteen = np.frombuffer(base64.b64decode(packed["boxes"]), "<u2").tolist()
    assert sixteen == [0, 16384, 32768, 65535, 0, 0, 65535, 65535]


def test_a_view_is_an_even_grid_without_a_picture_or_a_transform(tiny):
    about = tiny.captioner().encoder_info
    even = EVEN_GRID._asdict()
    assert report._view(about, PageImage("", 640, 480, "no such file")) == even
    assert report._view({"encoder": "x", "transform": {}}, PageImage("", 640, 480)) == even
    assert report._view(about, PageImage("", 640, 480)) != even


def record(number, *texts):
    return SimpleNamespace(id=number, captions=texts)


def test_people_are_scored_where_all_pictures_have_two_captions():
    two = [record(1, "a dog", "a cat runs"), record(2, "the red dog", "a fish")]
    references = {one.id: list(one.captions) for one in two}
    found = report._baselines([*two, record(3)])  # a picture without captions does not count
    text, scores = best_constant(references)
    assert found["constant"] == [text, scores["CIDEr-D"]]
    assert found["people"] == people(references)["CIDEr-D"]
    assert report._baselines([*two, record(4, "one alone")])["people"] is None


def test_curves_need_the_logs_of_all_runs(tiny, tmp_path):
    run = tiny.runs["topdown"]
    found = report._curves([run, tiny.runs["show_tell"]])
    head, _, data = found.partition(",")
    assert head == "data:image/svg+xml;base64" and b"<svg" in base64.b64decode(data)
    assert report._curves([run, tmp_path]) is None


def test_the_command_of_curves_draws_and_names_its_file(tiny, tmp_path, capsys):
    out = tmp_path / "c.png"
    curves.main(curves.Options((tiny.runs["topdown"],), out))
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert capsys.readouterr().out == f"{out}\n"


def test_results_for_the_first_of_two_runs(tiny, tmp_path, ids, capsys):
    path = results_file(tmp_path / "r.json", ids, ["a red circle is there"] * len(ids))
    given = Options(
        tiny.runs["topdown"], (tiny.runs["show_tell"],), tmp_path / "r.html", results=(path,),
        bootstrap=20, device="cpu",
    )  # fmt: skip
    found = gather(given)
    lines = capsys.readouterr().err.splitlines()
    names = [line for line in lines if line.startswith("model: ")]
    assert not any("earlier version" in line for line in lines)  # nothing is known of the results
    assert len(names) == 2 and "topdown" in names[0] and "show_tell" in names[1]
    assert [run["captions"] for run in found["runs"]] == [str(path), "decoded for this page"]
    origin = found["runs"][0]["origin"]
    assert origin["transform"] == tiny.captioner().encoder_info["transform"] != {}
    assert origin["model_sha256"] == file_sha256(tiny.runs["topdown"] / "model.safetensors")
    texts = {row["captions"][0]["text"] for row in found["rows"]}
    assert texts == {"a red circle is there"}
    assert len({row["captions"][1]["text"] for row in found["rows"]} - texts) > 0


def test_the_page_has_as_many_megabytes_as_the_command_says(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(html, "render", lambda content: "x" * 2_349_999)
    monkeypatch.setattr(report, "gather", lambda options: {})
    report.main(Options(out=tmp_path / "r.html"))
    assert capsys.readouterr().out == f"{tmp_path / 'r.html'}: 2.3 MB\n"
    assert (tmp_path / "r.html").stat().st_size == 2_349_999


@pytest.mark.parametrize("given", [False, True])
def test_captions_are_the_same_in_batches_of_any_size(tiny, tmp_path, ids, monkeypatch, given):
    captioner, data = tiny.captioner(), DataFolder.open(tiny.data)
    texts = ["", "a red circle", "two stars", "a zebra", "a circle", "there are three red stars"]
    path = results_file(tmp_path / "r.json", ids, texts) if given else None
    rows = data.split("test")
    whole = load_captions(captioner, data, rows, path)
    monkeypatch.setattr(captions, "BATCH", 4)
    parts = load_captions(captioner, data, rows, path)
    assert list(whole) == list(parts) == ids
    for one, other in zip(whole.values(), parts.values(), strict=True):
        assert (one.text, one.words) == (other.text, other.words)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert (one.attention is None) == (other.attention is None)
        if one.attention is not None:
            assert torch.allclose(one.attention, other.attention, atol=1e-5)
            assert one.attention.shape[0] == len(one.words)
    if given:
        assert [one.text for one in whole.values()] == texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"models": ["0" * 64]}, "not made by .* as it is now; run caption.generate again"),
        ({"captions": "0" * 64}, "made for other captions or splits"),
        ({"features": {"encoder": "another"}}, "made from features with encoder another"),
        ({"features": None}, None),  # the pictures were encoded
    ],
)
def test_results_of_another_model_or_data_folder_are_refused(tiny, tmp_path, ids, change, message):
    captioner, data = tiny.captioner(), DataFolder.open(tiny.data)
    path = results_file(tmp_path / "r.json", ids, ["a star"] * len(ids))
    labels = json.loads((tiny.data / "labels.json").read_text())
    about = {
        "captions": labels["captions_sha256"], "models": [file_sha256(captioner.path)],
        "features": features_identity(data.features),
    } | change  # fmt: skip
    write_about(path, about.pop("captions"), about.pop("models"), about)
    if message is None:
        assert len(load_captions(captioner, data, data.split("test"), path)) == len(ids)
    else:
        with pytest.raises(ValueError, match=message):
            load_captions(captioner, data, data.split("test"), path)


def test_progress_counts_the_pictures(tiny, ids, monkeypatch):
    counted = []
    monkeypatch.setattr(captions, "ProgressBar", partial(CountedBar, counted))
    monkeypatch.setattr(captions, "BATCH", 4)
    data = DataFolder.open(tiny.data)
    load_captions(tiny.captioner(), data, data.split("test"), None)
    assert counted == [(6, True), 4, 2]


def said(texts: dict) -> dict:
    return {i: captions.ScoredCaption(text, text.split(), []) for i, text in texts.items()}


LABELS = SimpleNamespace(
    records=[
        SimpleNamespace(id=9, captions=("a bird sings",), split="train"),
        SimpleNamespace(id=8, captions=("a dog runs",), split="val"),
    ]
)
RECORDS = [record(1, "a dog runs", "the dog is brown"), record(2, "a cat sleeps"), record(3)]


def test_marks_of_a_picture_and_shares_of_a_run():
    texts = {1: "a bird sings", 2: "a cat and a cat and a cat and", 3: "a dog runs"}
    page, (marks,) = statistics(LABELS, RECORDS, [said(texts)], ["run"], 20)
    assert marks[1]["faults"] == ["training caption", "hallucination"]  # a bird
    assert marks[1]["hallucinated"] == [1]
    assert marks[2]["faults"] == ["bad ending", "repetition"]
    # without references nothing is scored, and nothing is known to be missing
    assert marks[3] == {"cider": None, "faults": [], "hallucinated": []}
    assert marks[2]["cider"] == round(marks[2]["cider"], 4) > 0
    ours, theirs = page["health"]
    assert ours["repeated"] == pytest.approx(1 / 3) and theirs["repeated"] == 0
    assert page["chair"] == [{"CHAIRs": 0.5, "CHAIRi": 0.25}]  # of bird, cat, cat and cat
    assert statistics(LABELS, RECORDS, [said(dict.fromkeys(texts, "it"))], ["run"], 20)[0][
        "chair"
    ] == [{"CHAIRs": None, "CHAIRi": None}]


def test_runs_that_captioned_other_pictures_are_named():
    same = said({1: "a dog", 2: "a cat", 3: "it"})
    message = "third captioned other pictures than first; give the same --data"
    with pytest.raises(ValueError, match=message):
        statistics(
            LABELS, RECORDS, [same, same, said({1: "a", 2: "b"})], ["first", "2", "third"], 9
        )
    page, marks = statistics(LABELS, RECORDS, [same] * 3, ["first", "2", "third"], 9)
    assert len(marks) == len(page["scores"]) == len(page["words"]) == 3
    assert len(page["comparisons"]) == 2 and len(page["health"]) == 4
    assert all(one["CIDEr-D"]["difference"] == 0 for one in page["comparisons"])
    with pytest.raises(ValueError, match="2 captioned other pictures than first"):
        statistics(LABELS, RECORDS, [same, said({1: "a"})], ["first", "2"], 9)


def test_runs_are_compared_with_the_first():
    runs = [said({1: text, 2: "a cat", 3: "it"}) for text in ("a dog", "a dog runs", "a bus")]
    page, _ = statistics(LABELS, RECORDS, runs, ["first", "2", "3"], 9)
    first, *others = (scores["BLEU-2"][0] for scores in page["scores"])
    found = [one["BLEU-2"]["difference"] for one in page["comparisons"]]
    assert found == pytest.approx([other - first for other in others]) and len(set(found)) == 2


def row(number: int, *ciders) -> dict:
    shown = [{"cider": c, "attention": {"n": number} if number % 2 else None} for c in ciders]
    return {"src": f"picture {number}", "captions": shown}


@pytest.fixture
def page():
    def rendered(*rows):
        runs = [{"name": "a"}, {"name": "b <i>"}]
        return html.render({"rows": list(rows), "runs": runs, "split": "test"})

    return rendered


def parts_of(text: str) -> list[tuple[int, dict]]:
    found = re.findall(r'<script type="application/json" id="part-(\d+)">(.*?)</script>', text)
    return [(int(number), json.loads(part)) for number, part in found]


def test_the_worst_screenful_stands_before_the_script(page):
    """As many rows as gallery.js shows at first; each picture has a part of its own."""
    screenful = int(re.search(r"SCREENFUL = (\d+)", _read("gallery.js"))[1])
    rows = [row(n, (n * 7 % 50) / 50) for n in range(50)]
    text = page(*rows)
    worst = sorted(range(50), key=lambda n: n * 7 % 50)
    parts = parts_of(text)
    assert [number for number, _ in parts] == worst
    for number, part in parts:
        attention = rows[number]["captions"][0]["attention"]
        assert part == {"src": f"picture {number}", "attention": [attention]}
    before, _, after = text.partition(_read("report.js"))
    assert (len(parts_of(before)), len(parts_of(after))) == (screenful, 50 - screenful)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    shown = data["rows"]
    assert [one["part"] for one in shown] == list(range(50))
    assert [worst[one["place"]] for one in shown] == list(range(50))
    assert all("src" not in one and "attention" not in one["captions"][0] for one in shown)
    assert [one["captions"][0]["looked"] for one in shown] == [n % 2 == 1 for n in range(50)]


def _read(name: str) -> str:
    return (html.PAGE_FILES / name).read_text("utf-8")


def test_of_three_runs_the_second_decides_the_order(page):
    """And a picture without references comes before one that scored 0."""
    text = page(row(0, 0.5, 0.4, 0.9), row(1, 0.5, 0.9, 0.1), row(2, 0.5, 0.6, 0.7))
    assert [number for number, _ in parts_of(text)] == [1, 2, 0]
    assert [number for number, _ in parts_of(page(row(0, 0.0), row(1, None)))] == [1, 0]


def test_numbers_that_are_not_finite_are_an_error(page):
    with pytest.raises(ValueError, match="not JSON compliant"):
        page(row(0, math.nan))


def test_names_are_text_in_the_title(page):
    assert "a against b &lt;i&gt;" in page(row(0, 0.1))
