"""metrics.jsonl: what is no row costs that line alone."""

import pytest

from caption.training.curves import draw
from caption.training.training_log import rewind
from prepro import curves
from prepro.runtime.metrics_log import append_row, read_rows, rewrite_rows

GOOD = {"step": 1, "epoch": 0.5, "loss": 2.0, "gradient_norm": None}
VAL = {"step": 2, "epoch": 1, "val_loss": 2.5, "CIDEr-D": 0.25}
NO_ROWS = (
    "5", "null", "[1]", '{"torn', "[" * 100_000, '{"step": 1}', '{"epoch": null}', '{"epoch": "1"}',
    '{"epoch": 1, "step": null}', '{"epoch": 1, "loss": "low"}', '{"epoch": 1, "loss": [2]}',
    '{"epoch": 1, "val": {"loss": "low"}}',
    f'{{"epoch": 1, "loss": 1{"0" * 400}}}', f'{{"epoch": 1, "loss": {2**63}}}', "\x00", "\ufffd",
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    append_row(tmp_path, GOOD)
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write("\n".join(NO_ROWS) + "\n")
    append_row(tmp_path, VAL)
    return tmp_path


def test_lines_that_are_no_rows_are_skipped(run):
    assert read_rows(run) == [GOOD, VAL]
    draw([run], run / "curves.svg")
    rewind(run, 1, 1)
    assert read_rows(run) == [GOOD]


def test_a_validation_without_a_loss_is_drawn(run):
    append_row(run, {"epoch": 2, "CIDEr-D": 0.5})
    draw([run], run / "curves.svg")
    assert (run / "curves.svg").stat().st_size > 1000


def test_the_log_of_a_captioning_run_is_none_of_an_encoder(run):
    with pytest.raises(ValueError, match="no line of a training run in it"):
        curves.read(str(run))


def test_rows_of_rows_and_the_largest_numbers(tmp_path):
    rows = [{"epoch": 1, "val": {"loss": 2.5, "top1": None}}, {"epoch": 2, "n": 2**63 - 1},
            {"epoch": 3, "n": 1 - 2**63, "name": None}]  # fmt: skip
    for row in rows:
        append_row(tmp_path, row)
    assert read_rows(tmp_path) == rows
    rewrite_rows(tmp_path, rows[1:])
    assert read_rows(tmp_path) == rows[1:]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    with pytest.raises(FileNotFoundError, match="is .*none the folder of a run"):
        read_rows(tmp_path / "none")
