"""Attention over boxes: brute force over pixels, and a report of a run on a detector's regions."""

import base64
import json

import numpy as np
import pytest
import torch
from PIL import Image

from caption import models
from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.decoding.decode import DecodeOptions
from caption.models import Shape
from caption.pretrained.model_format import write_model
from caption.report import Options, gather
from caption.reporting.attention_overlay import DIM, overlay_attention, write_overlay
from caption.reporting.box_attention import OUTLINE, box_heatmap, box_view
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
