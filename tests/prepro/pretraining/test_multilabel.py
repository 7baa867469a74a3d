"""Multi-label targets: phrases of captions, and labels of drawn scenes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from prepro import encoders, pretrain
from prepro.annotations.records import ImageRecord
from prepro.pretraining.multilabel import (
    MultiLabel,
    frequent_phrases,
    open_caption_labels,
    open_label_file,
)
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40)}


def captioned(folder, count=24):
    """Pictures of one colour and two captions each, of which one names the colour."""
    rng, records = np.random.default_rng(0), []
    for i in range(count):
        name = ("red", "green")[i % 2]
        noise = rng.integers(-20, 20, (24, 24, 3)) + COLOURS[name]
        folder.mkdir(exist_ok=True)
        Image.fromarray(noise.clip(0, 255).astype("uint8")).save(folder / f"{i}.png")
        captions = (f"A {name} square.", "this is a picture")
        records.append(ImageRecord(i, f"{i}.png", "train" if i < count - 6 else "val", captions))
    vocabulary = Vocabulary(("a",))
    write_labels(folder, records, vocabulary, [[1]] * 2 * count, 2, {"image_root": ""})
    return folder


def test_targets_are_fractions_of_captions(tmp_path):
    dataset, task = open_caption_labels(captioned(tmp_path / "data"))
    # not "a", "square", "this", ..., which occur with every image
    assert set(dataset.classes) == {
        "red",
        "a red",
        "red square",
        "green",
        "a green",
        "green square",
    }
    assert task.names == dataset.classes and task.num_classes == 6
    red = dataset.classes.index("red")
    assert dataset.train.targets[:, red].tolist() == [0.5, 0] * 9
    assert len(dataset.train) == 18 and len(dataset.val) == 6


def test_phrases_are_sorted_by_frequency():
    phrases = [[{"dog"}, {"dog", "cat"}], [{"cat"}], [{"cat"}], [{"x"}], [{"y"}]]
    assert frequent_phrases(phrases)[:2] == ("cat", "dog")
    assert "all" not in frequent_phrases([[{"all"}]] * 5)
    assert frequent_phrases([[{"most"}]] * 4 + [[{"few"}]]) == ("most", "few")  # 80 % is allowed


def test_the_thousand_most_frequent_phrases_are_labels():
    """As many as Fang et al. 2015 detect; those of fewer than 3 in 1,000 pictures are rare."""
    words = [f"word {n:04}" for n in range(1005)]
    found = frequent_phrases([[set(words[:7])], [set(words)], [set(words[600:])], [set()]])
    assert found == (*words[:7], *words[600:], *words[7:595])  # in two pictures, then in one
    rare = [[{"thrice"} if i < 3 else set()] for i in range(1000)]
    rare[10] = rare[11] = [{"twice"}]
    assert frequent_phrases(rare) == ("thrice",)


def test_loss_and_errors_match_a_calculation_by_hand():
    task = MultiLabel(("a", "b", "c"))
    targets = torch.tensor([[1.0, 0.0, 0.5]])
    logits = torch.tensor([[2.0, 3.0, 0.0]])
    p = logits.double().sigmoid()[0]
    cross = -(p[0].log() + (1 - p[1]).log() + 0.5 * (p[2].log() + (1 - p[2]).log()))
    entropy = np.log(2)  # of the target 0.5
    assert task.loss(logits, targets).item() == pytest.approx(cross.item() - entropy, abs=1e-5)
    perfect = torch.logit(targets.clamp(1e-6, 1 - 1e-6))
    assert task.loss(perfect, targets).item() == pytest.approx(0, abs=1e-4)
    # ranked b, a, c: of a and c, precision 1/2 and 2/3
    precision = (1 / 2 + 2 / 3) / 2
    assert task.errors(logits, targets)["labels"].item() == pytest.approx(1 - precision)
    # the mean over pictures; of one label ranked third, precision 1/3; of no label, 0
    more = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    both = torch.cat([logits, logits]), torch.cat([targets, more[:1]])
    second = -(1 - p[0]).log() - (1 - p[1]).log() - p[2].log()
    expected = (cross.item() - entropy + second.item()) / 2
    assert task.loss(*both).item() == pytest.approx(expected, abs=1e-5)
    errors = task.errors(logits.expand(2, 3), more)["labels"]
    assert errors.tolist() == pytest.approx([1 - 1 / 3, 1])
    assert task.to_probabilities(torch.tensor([[1, 0, 1]])).tolist() == [[1.0, 0.0, 1.0]]


def test_training_on_captions_learns_to_name_colours(tmp_path):
    folder = captioned(tmp_path / "data")
    pretrain.main(
        pretrain.Options(
            data=folder, out=tmp_path / "run", encoder="resnet8-w4", recipe="captions", epochs=4,
            batch=6, crop=16, resize=24, device="cpu",
        )
    )  # fmt: skip
    encoder = encoders.load(tmp_path / "run" / "encoder.safetensors")
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(encoder.classes) >= {"red", "green"} and rows[-1]["val"]["labels"] < 1
    assert min(row["val"]["labels"] for row in rows if "val" in row) < 40  # chance: 50 %


def test_labels_of_an_annotation_file(tmp_path):
    images = [
        {"file_name": f"{i}.png", "split": split, "labels": names}
        for i, (split, names) in enumerate([("train", ["x"]), ("val", ["y", "x"]), ("train", [])])
    ]
    (tmp_path / "a.json").write_text(json.dumps({"images": images}))
    dataset, task = open_label_file(tmp_path / "a.json")
    assert task.names == ("x", "y")
    assert dataset.train.targets.tolist() == [[1, 0], [0, 0]] and dataset.val.targets.tolist() == [
        [1, 1]
    ]
    assert [name[-5:] for name in dataset.train.paths] == ["0.png", "2.png"]


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"file_name": "x.png"}]},
        {"images": [{"file_name": "x.png", "labels": ["a"]}]},
        {"images": [{"file_name": "x.png", "labels": ["a"], "split": "train"}, {"split": "val"}]},
        {"images": []},
        {},
        [1],
    ],
)
def test_annotations_without_labels_and_splits_are_refused(tmp_path, content):
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"b\.json: expected images with the keys labels and split"
    ):
        open_label_file(tmp_path / "b.json")


def test_captions_without_useful_phrases_are_refused(tmp_path):
    records = [ImageRecord(i, f"{i}.png", "train" if i else "val", ("a",)) for i in range(5)]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * 5, 1, {"image_root": ""})
    with pytest.raises(ValueError, match="too few captions to learn phrases from"):
        open_caption_labels(tmp_path)


def test_two_phrases_are_enough(tmp_path):
    captions = [("red",), ("green",), ("red",), ("green",), ("blue",)]
    records = [
        ImageRecord(i, f"{i}.png", "val" if i == 4 else "train", own)
        for i, own in enumerate(captions)
    ]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * 5, 1, {"image_root": ""})
    dataset, _ = open_caption_labels(tmp_path)
    assert dataset.classes == ("green", "red")
    assert dataset.train.targets.tolist() == [[0, 1], [1, 0]] * 2
    assert dataset.val.targets.tolist() == [[0, 0]]
