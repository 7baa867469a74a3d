"""What a training says in the terminal: its opening lines, and the table of a validation."""

import re

import pytest
import torch

from caption.config import TrainConfig
from caption.training import start_message
from caption.training.setup import open_trainer
from caption.training.start_message import opening_lines
from caption.training.validation import Validation
from eval.caption_statistics import caption_warnings
from prepro.annotations.records import ImageRecord
from prepro.runtime.distributed import DistributedContext
from tests.caption import tiny_runs as maker

CAPTIONS = [
    f"a caption that is number {i} of many and does not fit into half a line" for i in range(9)
]
RECORDS = [ImageRecord(str(i), f"{i}.jpg", "val", (text,)) for i, text in enumerate(CAPTIONS)]


def text_of(said: list[str]) -> list[str]:
    sentences = {record.id: text for record, text in zip(RECORDS, said, strict=False)}
    scores = {"BLEU-1": 0.5, "BLEU-4": 0.25, "ROUGE-L": 0.5, "CIDEr-D": 1.0, "CIDEr": 1.0}
    return Validation(2.5, scores, 1.0, sentences).text(RECORDS, 3).splitlines()


def test_a_validation_is_a_short_table_of_80_columns():
    lines = text_of(CAPTIONS)
    assert lines[0].split() == ["epoch", "val", "loss", "BLEU-4", "ROUGE-L", "CIDEr-D"]
    assert lines[1].split() == ["3", "2.500", "0.250", "0.500", "1.000"]
    assert re.split("  +", lines[2].strip()) == ["said", "people said"]
    assert len(lines) == 6 and max(map(len, lines)) <= 80


def test_three_captions_from_all_over_the_split_stand_beside_the_first_of_people():
    said = [f"said {i}" for i in range(9)]
    assert [line.split()[1] for line in text_of(said)[3:]] == ["0", "3", "6"]
    records = [
        ImageRecord("a", "a.jpg", "val", ("one", "two")), ImageRecord("b", "b.jpg", "val", ()),
    ]  # fmt: skip
    shown = Validation(1.0, {"CIDEr-D": 0.5}, 1.0, {"a": "first", "b": "second"}).text(records, 0)
    heads, cells, _, *captions = shown.splitlines()
    assert heads.split() == ["epoch", "val", "loss", "CIDEr-D"]
    assert cells.split() == ["0", "1.000", "0.500"]
    assert [line.split() for line in captions] == [["first", "one"], ["second"]]


def test_a_caption_is_shortened_only_where_it_does_not_fit():
    """Two columns of 37 characters, two spaces before each: 78 of 80."""
    whole, longer = "x" * 37, "y" * 38
    for text, shown in ((whole, whole), (longer, "y" * 36 + "…")):
        records = [ImageRecord("a", "a.jpg", "val", (text,))]
        last = Validation(1.0, {}, 1.0, {"a": text}).text(records, 0).splitlines()[-1]
        assert last == f"  {shown}  {shown}"


@pytest.mark.parametrize(
    ("said", "warnings"),
    [
        (["a dog", "a cat", "a cow", "a hen"], []),
        (["", " ", "a cow", "a hen"], ["2 of 4 captions are empty"]),
        ([""] * 5, ["5 of 5 captions are empty"]),
        (["a dog"] * 9, ["9 captions, but only 1 different"]),
        ([""] + ["a dog"] * 8, ["1 of 9 captions are empty", "8 captions, but only 1 different"]),
    ],
)
def test_warnings_are_true(said, warnings):
    assert caption_warnings(said) == warnings


def test_the_opening_names_data_model_and_device(tmp_path, monkeypatch):
    tiny = maker.make(tmp_path, ())
    config = TrainConfig(data=tiny.data, out=tmp_path / "run", hidden=16, embedding=16, workers=0)
    with open_trainer(config, DistributedContext(torch.device("cpu"))) as trainer:
        data, model, _ = opening_lines(trainer).splitlines()
        count = sum(p.numel() for p in trainer.learner.network.decoder.parameters())
        assert "8 train and 2 val pictures" in data
        assert f"show_tell: {count:,} parameters" in model and "resnet10-w8" in model
        assert trainer.features_in.startswith("features in memory")
        devices = {}
        for products in ("default", "oneDNN"):
            monkeypatch.setattr(start_message, "choose_matmul", lambda chosen=products: chosen)
            devices[products] = opening_lines(trainer).splitlines()[2]
        trainer.context = DistributedContext(torch.device("cuda"), 0, 2)
        trainer.learner.precision = "bfloat16"
        devices["two GPUs"] = opening_lines(trainer).splitlines()[2]
    where = f"; {trainer.features_in}"
    assert devices == {
        "default": f"device  cpu, float32{where}",
        "oneDNN": f"device  cpu, float32{where}; matrix products by oneDNN",
        "two GPUs": f"device  cuda, mixed float32 and bfloat16, 2 processes{where}",
    }
