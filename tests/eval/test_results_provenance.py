"""Results that do not belong to the captions or to the model are refused."""

import hashlib
import json

import pytest

from eval import command, score
from eval.results_provenance import (
    about_file,
    read_about,
    require_captions,
    require_model,
    write_about,
)

IMAGES = [{"id": 1, "split": "test", "captions": ["a dog runs", "a dog"]}]


@pytest.fixture
def files(tmp_path):
    """References with the hash "one", and results that were made for them."""
    results, references = tmp_path / "results.json", tmp_path / "labels.json"
    results.write_text(json.dumps([{"image_id": 1, "caption": "a dog runs"}]))
    references.write_text(json.dumps({"images": IMAGES, "captions_sha256": "one"}))
    write_about(results, "one", ["model"], {"split": "test"})
    return results, references


def status(results, references) -> int:
    words = ["--results", str(results), "--references", str(references)]
    return command.run(score.Options, score.main, words)


def test_results_are_scored_against_their_own_captions(files):
    assert status(*files) == 0
    assert read_about(files[0])["results"] == hashlib.sha256(files[0].read_bytes()).hexdigest()


def test_results_for_other_captions_are_refused(files, capsys):
    results, references = files
    references.write_text(json.dumps({"images": IMAGES, "captions_sha256": "two"}))
    assert status(results, references) == 2
    assert "made for other captions or splits" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"results": 3}'])
def test_what_stands_beside_a_foreign_file_is_ignored(files, content, capsys):
    results, references = files
    references.write_text(json.dumps({"images": IMAGES, "captions_sha256": "two"}))
    results.write_text(results.read_text() + "\n")  # changed since
    assert status(results, references) == 0
    assert "without the hash of the captions" in capsys.readouterr().err
    about_file(results).write_text(content)
    assert status(results, references) == (2 if content == "" else 0)  # not JSON: said


def test_results_of_another_model_are_refused(files, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    write_about(files[0], "one", [hashlib.sha256(b"weights").hexdigest()], {})
    require_model(files[0], model)
    model.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="not made by"):
        require_model(files[0], model)


def test_results_of_several_models_are_those_of_none(files, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"weights")
    one = hashlib.sha256(b"weights").hexdigest()
    write_about(files[0], "one", [one, one], {})
    with pytest.raises(ValueError, match="not made by"):
        require_model(files[0], model)
    for models in ([], None):  # nothing is known
        write_about(files[0], "one", models, {})
        require_model(files[0], model)


@pytest.mark.parametrize(
    ("content", "captions", "said", "refused"),
    [
        ({"captions_sha256": "two"}, "one", False, True),
        ({"captions_sha256": "one"}, "one", False, False),
        ({"captions_sha256": "two"}, None, False, False),
        ({}, "one", False, False),
        ({}, None, False, False),
        ([], "one", False, False),
        ({"captions_sha256": "two"}, "nothing beside it", True, False),
        ({}, "nothing beside it", False, False),
    ],
)
def test_only_two_different_hashes_are_a_reason_to_refuse(
    files, content, captions, said, refused, capsys
):
    results, references = files
    references.write_text(json.dumps(content))
    write_about(results, captions, ["model"], {})
    if captions == "nothing beside it":
        about_file(results).unlink()
    if refused:
        with pytest.raises(ValueError, match="made for other captions"):
            require_captions(results, references)
    else:
        require_captions(results, references)
    assert ("without the hash" in capsys.readouterr().err) is said


def test_references_without_a_hash_fit_all_results(files, tmp_path):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("no JSON")
    require_captions(files[0], tokens)


def test_nothing_is_written_beside_what_is_no_file(tmp_path):
    write_about(tmp_path / "gone.json", "one", ["model"], {})
    assert not list(tmp_path.iterdir())
