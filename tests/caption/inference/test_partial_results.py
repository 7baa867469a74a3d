"""Partial results: what is continued, what is passed over, and how progress is counted."""

import json
from types import SimpleNamespace

import pytest

from caption.inference import shared_work
from caption.inference.partial_results import PartialResults
from caption.inference.shared_work import caption_share, joining


def test_the_order_of_settings_does_not_matter_and_their_values_do(tmp_path):
    out = tmp_path / "results.json"
    PartialResults(out, {"beam": 1, "n": 2}).write(0, [{"caption": "a"}])
    assert PartialResults(out, {"n": 2, "beam": 1}).join(1) == [{"caption": "a"}]
    for other in ({"n": 2, "beam": 2}, {"n": 2}, [1, 2]):
        assert PartialResults(out, other).done() == {}


def test_the_folder_of_the_results_is_made(tmp_path):
    out = tmp_path / "a" / "b" / "results.json"
    for _ in range(2):
        parts = PartialResults(out, 1)
        parts.write(0, [])
    assert parts.own_file.parent == out.parent and parts.done() == {0: []}


def test_what_is_no_line_of_results_is_passed_over(tmp_path):
    parts = PartialResults(tmp_path / "results.json", 1)
    parts.write(1, [{"caption": "b"}])
    odd = ["3", "null", "[1]", '"text"', "{}", '{"key": "other", "batch": 0}', "[" * 100_000, "{"]
    with open(parts.own_file, "a") as file:
        file.write("\n".join(odd))
    parts.write(0, [{"caption": "a"}])
    assert parts.finished() == {0, 1}
    assert parts.join(2) == [{"caption": "a"}, {"caption": "b"}]
    with pytest.raises(RuntimeError, match=r"results\.json: 2 of 4 batches are missing"):
        parts.join(4)


def test_results_whose_name_looks_like_a_pattern_have_their_own_files(tmp_path):
    one, other = (PartialResults(tmp_path / name, 1) for name in ("r[1].json", "r1.json"))
    one.write(0, [])
    other.write(1, [])
    assert one.finished() == {0} and other.finished() == {1}
    one.remove()
    assert not one.own_file.exists() and other.own_file.exists()


def test_what_was_read_is_not_read_again(tmp_path):
    parts = PartialResults(tmp_path / "results.json", 1)
    parts.write(4, [])
    assert parts.finished() == {4}
    parts.own_file.write_text(parts.own_file.read_text().replace('"batch": 4', '"batch": 5'))
    parts.write(6, [])
    assert parts.finished() == {4, 6}


def test_files_that_another_process_has_removed_are_no_error(tmp_path, monkeypatch):
    parts = PartialResults(tmp_path / "results.json", 1)
    parts.write(0, [])
    monkeypatch.setattr(parts, "_files", lambda: [tmp_path / "gone", parts.own_file])
    parts.remove()
    assert not list(tmp_path.iterdir())


def test_one_of_two_processes_joins_the_results(tmp_path):
    first, second = (PartialResults(tmp_path / "results.json", 1, rank) for rank in (0, 1))
    with first.lock(), second.lock():
        first.write(0, [])
        for parts, expected in ((first, True), (second, False)):
            with joining(parts, SimpleNamespace(rank=0, world=2), 1) as is_ours:
                assert is_ours is expected
    assert not list(tmp_path.iterdir())


@pytest.fixture
def bars(monkeypatch):
    """What the progress bars were told: total, start and whether they show; then good and bad."""
    told = []

    class Bar:
        def __init__(self, total, name, initial=0, enabled=True):
            self.told = [(total, initial, enabled)]
            told.append(self.told)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def add(self, good, bad=0):
            self.told.append((good, bad))

    monkeypatch.setattr(shared_work, "ProgressBar", Bar)
    return told


def job(size: int, count: int) -> SimpleNamespace:
    """Pictures 0 to `count` - 1, of which every fifth is bad."""
    asked = []

    def batches(size, numbers):
        asked.extend(numbers)
        for number in numbers:
            every = range(number * size, min((number + 1) * size, count))
            bad = {i: "bad" for i in every if i % 5 == 4}
            yield SimpleNamespace(number=number, indices=[*every], bad=bad)

    return SimpleNamespace(
        batches=-(-count // size), batch_size=size, asked=asked,
        source=SimpleNamespace(ids=range(count), batches=batches),
        rows=lambda loaded: [{"image_id": i} for i in loaded.indices],
    )  # fmt: skip


@pytest.mark.parametrize("world", [1, 2])
def test_a_continued_job_does_what_is_left_and_counts_every_picture(tmp_path, bars, world):
    work, parts = job(3, 11), PartialResults(tmp_path / "results.json", 1)
    parts.write(1, [{"image_id": i} for i in (3, 4, 5)])
    with parts.lock():
        caption_share(work, parts, SimpleNamespace(rank=0, world=world))
        assert sorted(work.asked) == [0, 2, 3]
        ((start, *steps),) = bars
        assert start == (11, 3, True)
        assert sorted(steps) == [(1, 1), (3, 0), (3, 0)]
        with joining(parts, SimpleNamespace(rank=0, world=world), 4) as is_ours:
            assert is_ours
            assert [row["image_id"] for row in parts.join(4)] == list(range(11))
    assert not list(tmp_path.iterdir())


def test_one_process_shows_the_progress(tmp_path, bars):
    parts = PartialResults(tmp_path / "results.json", 1, 1)
    with parts.lock():
        caption_share(job(2, 4), parts, SimpleNamespace(rank=1, world=2))
    assert [start for start, *_ in bars] == [(4, 0, False)]


def test_processes_begin_in_different_places(tmp_path):
    """So that they do not ask for the same pieces: rank 1 of 2 in the middle."""
    work = job(1, 16)
    parts = PartialResults(tmp_path / "results.json", 1, 1)
    with parts.lock():
        caption_share(work, parts, SimpleNamespace(rank=1, world=2))
    assert work.asked == [*range(8, 16), *range(8)]
    assert json.loads(parts.own_file.read_text().split("\n")[1])["batch"] == 8
