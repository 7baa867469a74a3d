"""caption.sample: what it prints for one and for many, and what it does without options."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from caption import sample
from eval import command
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("sample"), ("topdown", "newfc"))


@pytest.fixture
def pictures(tiny):
    return [str(path) for path in sorted((tiny.data / "images").iterdir())[:5]]


@pytest.fixture
def run(tiny, capsys):
    """Runs the command with the run `newfc`; returns its status, its output and its errors."""

    def run(*words, kind="newfc"):
        argv = [*map(str, words), "--run", str(tiny.runs[kind]), "--device", "cpu"]
        status = sample.main(command.parse(sample.Options, argv))
        return status, *capsys.readouterr()

    return run


def test_one_picture_needs_no_name_and_several_have_theirs(run, pictures, tiny):
    status, out, err = run(pictures[0])
    captioner = tiny.captioner("newfc")
    assert (status, out) == (0, captioner.sentences(pictures[:1])[0] + "\n")
    assert err == f"model: {captioner.description}\n"
    status, out, _ = run(*pictures[:2], "--n", 2)
    named = [line.split("\t") for line in out.splitlines()]
    expected = captioner.captions(pictures[:2], n=2)
    assert named == [
        [name, caption.text]
        for name, some in zip(pictures[:2], expected, strict=True)
        for caption in some
    ]


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_all_batches_are_captioned_and_the_bad_ones_named(run, pictures, tmp_path, size):
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>")
    names = [pictures[0], "gone.jpg", *pictures[1:3], bad, *pictures[3:]]
    status, out, err = run(*names, "--batch-size", size)
    assert status == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == pictures
    lines = [line for line in err.splitlines() if line.startswith("caption.sample: ")]
    assert [line.split(": ")[1] for line in lines] == ["gone.jpg", str(bad)]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_caption_is_seen_at_once(as_json, monkeypatch):
    """By the program that reads our output and waits for it."""
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe))
    caption = SimpleNamespace(text="a dog", to_dict=lambda: {"caption": "a dog"})
    sample._print("x.jpg", [caption], as_json, many=True)
    assert b"a dog" in pipe.getvalue() and pipe.getvalue().endswith(b"\n")


def test_without_any_picture_that_exists_the_first_is_named(run):
    with pytest.raises(FileNotFoundError, match="^one.jpg: no such picture"):
        run("one.jpg", "two.jpg")


def test_a_batch_of_none_is_refused(run, pictures):
    with pytest.raises(ValueError, match="--batch-size must be at least 1"):
        run(pictures[0], "--batch-size", 0)


def test_samples_are_of_seed_0_unless_another_is_given(run, pictures):
    words = *pictures, "--sample", "temperature=3", "--json"
    first = run(*words)
    assert first == run(*words, "--seed", 0) != run(*words, "--seed", 1)
    assert [json.loads(line)["file"] for line in first[1].splitlines()] == pictures
    assert "captions" not in run(*words[:-1])[1]


def test_scores_of_several_pictures_have_their_names(run, pictures, tiny):
    words = tiny.captioner("newfc").vocabulary.words[:4]
    texts = " ".join(words[:3]), words[3]
    _, alone, _ = run(pictures[0], "--score", texts[0])
    _, both, _ = run(*pictures[:2], "--score", texts[0], "--score", texts[1])
    heads = [line for line in both.splitlines() if not line.startswith(" ")]
    assert alone.splitlines()[0] == heads[0].partition("\t")[2]
    assert [line.split("\t")[::2] for line in heads] == [
        [name, text] for name in pictures[:2] for text in texts
    ]
    total, parts = alone.splitlines()
    pairs = [part.split(" ") for part in parts.strip().split("  ")]
    assert [word for word, _ in pairs] == [*words[:3], "(end)"]
    assert float(total.split("\t")[0]) == pytest.approx(sum(float(v) for _, v in pairs), abs=5e-4)


def test_attention_is_drawn_for_the_best_caption_of_each_picture(
    run, pictures, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        "caption.reporting.attention_overlay.write_overlay",
        lambda picture, words, attention, *where: drawn.append((words, attention, where[:2])),
    )
    words = *pictures[:2], "--n", 2, "--attention", tmp_path
    status, out, _ = run(*words, kind="topdown")
    assert status == 0
    best = [line.split("\t")[1] for line in out.splitlines()][::2]
    assert [" ".join(words) for words, *_ in drawn] == best
    assert all(attention.shape == (len(words), 49) for words, attention, _ in drawn)
    assert [where for *_, where in drawn] == [(tmp_path, Path(name).stem) for name in pictures[:2]]


def test_a_word_alone_that_is_unknown_is_all_of_the_caption(run, pictures):
    _, out, _ = run(pictures[0], "--score", "zebra", "--json")
    (score,) = json.loads(out)["scores"]
    assert score["unknown"] == ["zebra"] and score["unknown_share"] == 1
    assert score["words"] == [] and len(score["log_probs"]) == 1


def test_a_caption_of_a_thousand_words_is_scored(run, pictures):
    """The message for a longer one says that this is the limit."""
    _, out, _ = run(pictures[0], "--score", "two " * 1000, "--json")
    assert len(json.loads(out)["scores"][0]["log_probs"]) == 1001
