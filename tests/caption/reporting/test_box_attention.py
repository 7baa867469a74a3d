"""Attention over boxes: brute force over pixels, and a report of a run on a detector's regions."""

import base64
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caption import models, sample
from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.decoding.decode import DecodeOptions
from caption.models import Shape
from caption.pretrained.model_format import write_model
from caption.report import Options, gather
from caption.reporting import attention_overlay
from caption.reporting.attention_overlay import DIM, overlay_attention, write_overlay
from caption.reporting.box_attention import OUTLINE, box_heatmap, box_view
from eval import command
from prepro import adopt, labels, scenes
from prepro.storage.label_file import read_labels

RNG = np.random.default_rng(3)


def random_boxes(count: int) -> np.ndarray:
    corners = np.sort(RNG.random((2, count, 2)), 0)
    return np.concatenate([*corners], 1).astype(np.float32)


def test_a_pixel_has_the_sum_of_the_weights_of_its_boxes():
    boxes, weights = random_boxes(9), RNG.random(9)
    found = box_heatmap(np.append(weights, 0), box_view(boxes), 31, 17)
    expected = np.zeros((17, 31))
    for y in range(17):
        for x in range(31):
            for (left, top, right, bottom), weight in zip(boxes, weights, strict=True):
                if left <= (x + 0.5) / 31 < right and top <= (y + 0.5) / 17 < bottom:
                    expected[y, x] += weight
    assert np.allclose(found, expected / expected.max(), atol=1e-12)


def test_boxes_that_touch_share_no_pixel():
    """Edges through the middles of pixels: a box has its left and upper edge alone."""
    edges = [0.0, 0.25, 0.65, 1.0]
    boxes = [
        [left, top, right, bottom]
        for left, right in itertools.pairwise(edges) for top, bottom in itertools.pairwise(edges)
    ]  # fmt: skip
    heat = box_heatmap(np.arange(1, 10) / 100, box_view(np.array(boxes)), 10, 10)
    parts = [2, 4, 4]  # the pixels with their middles at 0.05 ... 0.95 before each edge
    expected = np.repeat(np.repeat(np.arange(1, 10).reshape(3, 3).T, parts, 0), parts, 1)
    assert np.allclose(heat, expected / 9)
    assert not box_heatmap(np.zeros(3), box_view(np.zeros((0, 4))), 4, 3).any()
    faint = box_heatmap(np.array([1e-3]), box_view(np.array([[0, 0, 1, 1]])), 4, 3)
    assert faint.shape == (3, 4) and (faint == 1).all()


def test_the_line_around_a_box_is_the_pages(tmp_path):
    script = Path(attention_overlay.__file__).with_name("attention.js").read_text()
    assert f'strokeStyle = "rgb{OUTLINE}"' in script


def test_the_box_of_the_greatest_weight_has_an_outline():
    view = box_view(np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 0.9, 0.9]]))
    drawn = np.asarray(
        overlay_attention(Image.new("RGB", (100, 100), "white"), np.array([0.2, 0.8]), view)
    )
    assert tuple(drawn[50, 70]) == OUTLINE and tuple(drawn[60, 60]) == (255, 255, 255)
    assert abs(int(drawn[10, 10, 0]) - 255 * (1 - DIM * 0.75)) <= 1
    assert abs(int(drawn[95, 95, 0]) - 255 * (1 - DIM)) <= 1


def test_the_sheet_and_its_numbers(tmp_path):
    boxes = random_boxes(5)
    attention = torch.rand(2, 5)
    picture = Image.new("RGB", (64, 48))
    write_overlay(picture, ["a", "dog"], attention, tmp_path, "dog", box_view(boxes))
    about = json.loads((tmp_path / "dog.json").read_text())
    assert torch.equal(torch.tensor(about["attention"]), attention)
    assert np.allclose(about["boxes"], boxes, atol=1e-5)


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """A data folder of three to seven regions a picture, their boxes, and a run on it."""
    folder = tmp_path_factory.mktemp("detected")
    data, arrays = folder / "data", folder / "arrays"
    scenes.main(scenes.Options(data, train=4, val=2, test=4))
    labels.main(labels.Options((data / "annotations.json",), data, data, min_count=0))
    arrays.mkdir()
    for i, record in enumerate(read_labels(data).records):
        count = 3 + i % 5
        values = RNG.standard_normal((count, 12)).astype(np.float32)
        np.savez(arrays / f"{record.id}.npz", x=values, bbox=random_boxes(count))
    assert adopt.main(adopt.Options(data, att=arrays)) == 0
    opened = DataFolder.open(data)
    torch.manual_seed(0)
    words = opened.labels.vocabulary
    decoder = models.build("topdown", Shape(words.classes, 12, 16, 16)).eval()
    for weight in decoder.parameters():
        weight.data.mul_(4)
    about = {
        "encoder": "adopted", "weights": "", "sha256": opened.features.provenance.weights_sha256,
        "public": False, "transform": {},
    }  # fmt: skip
    config = json.loads(TrainConfig(data=data, decoder="topdown").to_json())
    run = {"config": config, "data": "", "validation": {"CIDEr-D": 0.5, "epoch": 1}}
    decoding = DecodeOptions(beam=2, max_length=8)
    write_model(
        folder / "model.safetensors", decoder, words.words, about, {}, 7, decoding, run
    )  # fmt: skip
    return folder, opened


def test_a_report_has_the_boxes_of_its_regions(detected):
    folder, opened = detected
    content = gather(Options(folder / "model.safetensors", out=folder / "r.html", bootstrap=20))
    rows = opened.split("test")
    for row, found in zip(rows, content["rows"], strict=True):
        packed = found["captions"][0]["attention"]
        count = 3 + row % 5
        boxes = np.frombuffer(base64.b64decode(packed["boxes"]), "<u2").reshape(-1, 4) / 65535
        assert np.allclose(boxes, opened.features.boxes(np.array([row]))[0][:count], atol=1e-5)
        shares = np.frombuffer(base64.b64decode(packed["bytes"]), np.uint8)
        assert len(shares) == count * len(found["captions"][0]["words"])


def test_sample_draws_on_the_boxes_of_stored_features(detected, tmp_path, capsys):
    """By file and by id; the run has no encoder, so it needs the data folder."""
    folder, opened = detected
    record, other = (opened.labels.records[row] for row in opened.split("test")[:2])
    file = str(opened.labels.image_root / record.path)
    run = ["--run", str(folder / "model.safetensors"), "--data", str(folder / "data")]
    words = [file, str(other.id), *run, "--json", "--attention", str(tmp_path)]
    assert sample.main(command.parse(sample.Options, words)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    content = gather(Options(folder / "model.safetensors", out=folder / "r.html", bootstrap=20))
    captions = {row["id"]: row["captions"][0]["text"] for row in content["rows"]}
    for row, one in zip(rows, (record, other), strict=True):
        assert row["captions"][0]["caption"] == captions[one.id]
    for stem, one in ((Path(file).stem, record), (str(other.id), other)):
        about = json.loads((tmp_path / f"{stem}.json").read_text())
        index = opened.labels.records.index(one)
        boxes = opened.features.boxes(np.array([index]))[0][: 3 + index % 5]
        assert np.allclose(about["boxes"], boxes, atol=1e-5)
        attention = np.array(about["attention"])
        assert attention.shape == (len(about["words"]), len(boxes))
        assert np.allclose(attention.sum(1), 1, atol=1e-5)
    assert sample.main(command.parse(sample.Options, ["nothing.jpg", *run])) == 1
    assert "no picture of" in capsys.readouterr().err
    scored = [str(other.id), *run, "--score", "a red circle"]
    assert sample.main(command.parse(sample.Options, scored)) == 0
