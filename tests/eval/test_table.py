"""eval.table: the columns and sentences of a report, by hand."""

import pytest

from eval.table import p_values_note, permutations_note, sentence, table

METRICS = {"BLEU-4": 0.25, "SPICE": 0.125}
ROW = {
    "score": 0.5, "difference": 0.25, "low": -0.125, "high": 0.375, "p": 0.001,
    "permutations": 1024, "exact": True,
}  # fmt: skip


def columns(text: str) -> list[list[str]]:
    """The cells of each line: two spaces stand between columns."""
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.split("\n")
    ]


def test_a_report_of_scores_alone():
    text = table({"metrics": METRICS, "health": {"captions": 3, "novel": None, "mean_length": 2.0}})
    assert text.split("\n") == [
        "metric   score",
        "BLEU-4  0.2500",
        "SPICE   0.1250",
        "",
        "captions 3, mean length 2.000",
    ]


def test_means_have_a_deviation_and_intervals_where_they_are_known():
    report = {
        "metrics": METRICS,
        "std": {"BLEU-4": 0.01, "SPICE": 0.02},
        "intervals": {"BLEU-4": [0.125, 0.375]},
        "against": {"other": {"BLEU-4": ROW}},
    }
    head, first, second, _, note = table(report).split("\n")
    assert columns(head)[0] == [
        *("metric", "mean", "std", "95% interval"),
        *("against", "difference", "95% interval", "p"),
    ]
    assert columns(first)[0] == [
        *("BLEU-4", "0.2500", "0.0100", "0.1250 .. 0.3750"),
        *("0.5000", "+0.2500", "-0.1250 .. 0.3750", "0.0010"),
    ]
    assert columns(second)[0] == ["SPICE", "0.1250", "0.0200"]
    assert len({len(line) for line in (head, first, second)}) == 1
    assert note == "p: permutation test over the images, all 1,024 permutations"


def test_several_comparisons_are_tables_of_their_own():
    other = {"BLEU-4": ROW | {"p": 0.0009, "p_holm": 0.0018, "p_seeds": 0.1}}
    text = table({"metrics": METRICS, "against": {"b": other, "c": other}})
    ours, first, second, note = text.split("\n\n")
    assert columns(ours)[0] == ["metric", "score"]
    for name, part in (("b", first), ("c", second)):
        head, row, _ = columns(part)
        assert head == ["metric", name, "difference", "95% interval", "p", "p Holm", "p seeds"]
        assert row[4:] == ["< 0.001", "0.0018", "0.1000"]
    assert note.endswith(
        "; p Holm: corrected for 2 comparisons; p seeds: exact permutation test over the seeds"
    )


def test_notes_say_each_kind_of_test_once():
    random = {"m": ROW | {"permutations": 2000, "exact": False}}
    note = permutations_note({"a": {"m": ROW}, "b": random, "c": random})
    assert note == ("permutation test over the images, all 1,024 or 2,000 random permutations")
    assert p_values_note({"a": {"m": ROW}}) == (
        "p: permutation test over the images, all 1,024 permutations"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [({}, ""), ({"a_b_c": 1, "d": None, "e": 0.12345, "f": "g"}, "a b c 1, e 0.123, f g")],
)
def test_sentences_have_three_decimals(values, text):
    assert sentence(values) == text
