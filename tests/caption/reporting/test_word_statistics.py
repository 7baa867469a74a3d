"""The words of a run beside those of people."""

from caption.reporting.word_statistics import word_statistics


def test_words_that_are_never_said_and_said_too_often():
    references = [[["a", "dog"], ["a", "cat"]], [["a", "dog"], ["the", "dog"]]]
    found = word_statistics(references, [["a", "zebra"], ["a", "zebra", "zebra"]])
    assert found["never"] == [["dog", 0.75]] and found["never_count"] == 1  # cat, the: once
    assert found["often"] == [["zebra", 1.0, 0.0], ["a", 1.0, 0.75]]


def test_words_are_sorted_by_share_then_by_the_alphabet(monkeypatch):
    """What a run says as often as people, or once, is no excess."""
    references = [[["b", "c"], ["a", "b", "c"]], [["a", "b", "e"], ["a", "c", "e"]], [["b", "e"]]]
    found = word_statistics(references, [["z", "e"], ["z", "y"], ["y", "e"], ["x", "e"], ["w"]])
    assert found["never"] == [["b", 0.8], ["a", 0.6], ["c", 0.6]] and found["never_count"] == 3
    assert found["often"] == [["y", 0.4, 0.0], ["z", 0.4, 0.0]]  # e: three of five, as people
    people, run = [[["p"], *[["r"]] * 4]], [["p", "q"], ["p", "q"], ["p"], ["p"], ["s"]]
    excess = word_statistics(people, run)["often"]
    assert excess == [["p", 0.8, 0.2], ["q", 0.4, 0.0]]  # by 0.6 and by 0.4
    third = word_statistics([[["a"], ["a"], ["b"]]] * 3, [["b"], ["b"], ["d"]])
    assert third["never"] == [["a", 0.66667]] and third["often"] == [["b", 0.66667, 0.33333]]


def test_the_lists_are_cut_but_the_number_is_not():
    words = [f"w{n:03}" for n in range(70)]
    own = [f"v{n:03}" for n in range(70)]
    found = word_statistics([[words] * 3], [own] * 2)
    assert [word for word, _ in found["never"]] == words[:60] and found["never_count"] == 70
    assert [word for word, *_ in found["often"]] == own[:60]
