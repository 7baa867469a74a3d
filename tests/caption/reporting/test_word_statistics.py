"""The words of a run beside those of people."""

from caption.reporting.word_statistics import word_statistics


def test_words_that_are_never_said_and_said_too_often():
    references = [[["a", "dog"], ["a", "cat"]], [["a", "dog"], ["the", "dog"]]]
    found = word_statistics(references, [["a", "zebra"], ["a", "zebra", "zebra"]])
    assert found["never"] == [["dog", 0.75]] and found["never_count"] == 1  # cat, the: once
    assert found["often"] == [["zebra", 1.0, 0.0], ["a", 1.0, 0.75]]
