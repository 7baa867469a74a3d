"""The progress of a run as a checkpoint holds it: what is believed, and what is damaged."""

from dataclasses import asdict

import pytest

from caption.training.progress import Progress

COUNTS = ("step", "epoch", "cursor", "stale", "stage_epoch", "steps")


def test_a_run_begins_at_nothing():
    new = Progress()
    assert [getattr(new, name) for name in COUNTS] == [0] * 6
    assert (new.finetune, new.scst, new.loss, new.sums) == (False, False, 0, [])
    assert new.is_new and not new.is_validated


def test_a_run_is_new_until_it_was_trained_or_validated():
    """A validation comes first where a run starts from another."""
    assert not Progress(step=1).is_new and not Progress(step=1).is_validated
    assert not Progress(best=0.0).is_new and Progress(best=0.0).is_validated
    assert not Progress(step=3, best=0.5).is_new


@pytest.mark.parametrize(
    "values",
    [
        {},
        dict.fromkeys(COUNTS, 7),
        {"best": -1.5, "loss": -3, "sums": [1.0, 2, 0.0], "finetune": True, "scst": True},
    ],
)
def test_values_come_back(values):
    progress = Progress(**values)
    assert Progress.of(asdict(progress), "run") == progress


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, -1) for name in COUNTS),
        ("step", 1.0), ("epoch", True), ("cursor", "3"), ("stale", None),
        ("finetune", 1), ("scst", "yes"), ("best", True), ("best", "0.5"), ("loss", None),
        ("sums", 3.0), ("sums", (1.0,)), ("sums", [1.0, "2"]), ("sums", [True]),
    ],
)  # fmt: skip
def test_what_cannot_be_progress_is_named(name, value):
    with pytest.raises(ValueError, match=f"run: damaged; {name} of its progress is"):
        Progress.of({name: value}, "run")


def test_the_message_shows_the_beginning_of_a_long_value():
    with pytest.raises(ValueError) as caught:
        Progress.of({"step": "x" * 500}, "run")
    assert "'xxxx" in str(caught.value) and len(str(caught.value)) < 120


def test_an_unknown_key_is_an_earlier_versions():
    with pytest.raises(ValueError, match="earlier version .*--start run --out FOLDER"):
        Progress.of({"stage": 1}, "run")
