"""Errors and loss of a classifier: of uneven batches, of few and of many classes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prepro import encoders
from prepro.pretraining.datasets import open_dataset
from prepro.pretraining.evaluate import accumulate, evaluate, reduce_means, ten_crops
from prepro.pretraining.multilabel import MultiLabel
from prepro.pretraining.tasks import SingleLabel
from prepro.runtime import precision
from prepro.runtime.distributed import DistributedContext
from prepro.transform import Transform
from tests.prepro.pretraining.test_datasets import write_folder


def test_evaluation_of_uneven_batches_is_exact(tmp_path, monkeypatch):
    """Errors and loss of uneven batches are those of all pictures at once."""
    monkeypatch.setattr(precision, "reduced_precision", lambda device: None)
    data, task = (
        open_dataset(write_folder(tmp_path / "d", count=20, size=24)),
        SingleLabel(("green", "red")),
    )
    encoder = encoders.reset_classifier(encoders.create_encoder("resnet8-w4", seed=3), data.classes)
    context = DistributedContext(torch.device("cpu"))
    encoder.network.train()
    found = evaluate(encoder.network, encoder.transform, data.val, task, context, batch=7)
    assert encoder.network.training
    encoder.network.eval()
    pixels = [encoder.transform.pixels(data.val.open(i)) for i in range(len(data.val))]
    with torch.inference_mode():
        batch = encoder.transform.normalise(torch.from_numpy(np.stack(pixels)))
        logits = encoder.network(batch)
    targets = torch.from_numpy(data.val.targets)
    loss = -logits.log_softmax(1)[range(len(targets)), targets].mean()
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert found["top1"] == pytest.approx((logits.argmax(1) != targets).float().mean() * 100)


def test_top1_and_top5_errors_with_few_and_many_classes():
    logits = torch.tensor([[0.0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
    errors = SingleLabel(tuple("abcdef")).errors(logits, torch.tensor([0, 0]))
    assert errors["top1"].tolist() == [1, 0] and errors["top5"].tolist() == [1, 0]
    few = SingleLabel(("a", "b")).errors(logits[:, :2], torch.tensor([0, 0]))
    assert few["top1"].tolist() == [1, 0] and few["top5"].tolist() == [0, 0]
    broken = SingleLabel(("a", "b")).errors(torch.full((1, 2), math.nan), torch.tensor([0]))
    assert broken["top1"].tolist() == [1]


def test_errors_of_mixed_targets_and_of_logits_that_are_not_finite():
    task = SingleLabel(("a", "b", "c"))
    logits = torch.tensor([[1.0, 3.0, 2.0], [3.0, 2.0, math.inf], [3.0, 1.0, 2.0]])
    mixed = torch.tensor([[0.2, 0.7, 0.1], [0.8, 0.1, 0.1], [0.3, 0.5, 0.2]])
    errors = task.errors(logits, mixed)
    assert errors["top1"].tolist() == [0, 1, 1] and errors["top5"].tolist() == [0, 1, 0]
    assert task.to_probabilities(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_smoothing_moves_a_share_of_the_target_to_all_classes():
    """Mean over pictures of -log p, of targets 0.9 + 0.1 / 3 and 0.1 / 3; none by default."""
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.0, 1.0]])
    task, log_p = SingleLabel(("a", "b", "c")), logits.log_softmax(1)
    right = (log_p[0, 1] + log_p[1, 0]) / 2
    targets = torch.tensor([1, 0])
    assert task.loss(logits, targets).item() == pytest.approx(-right.item())
    smooth = 0.9 * right + 0.1 * log_p.mean()
    assert task.loss(logits, targets, 0.1).item() == pytest.approx(-smooth.item())


class Patches(torch.nn.Module):
    """Logits that are linear in the mean colours; the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, pixels):
        self.sizes.append(len(pixels))
        return pixels.mean((2, 3)) ** 3


@pytest.fixture
def patches(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda device: None)
    data = open_dataset(write_folder(tmp_path / "d", count=6, classes=("a", "b", "c")))
    return Patches(), Transform(resize=32, crop=16), data, SingleLabel(data.classes)


def test_ten_crops_are_scored_by_the_mean_of_their_logits(patches):
    network, transform, data, task = patches
    context = DistributedContext(torch.device("cpu"))
    found = evaluate(network, transform, data.val, task, context, batch=20, crops=10)
    assert network.sizes == [20] * 4 + [10]  # a tenth of the pictures a batch: nine are 2 x 4 + 1
    crops = np.stack([ten_crops(data.val.open(i), transform) for i in range(9)])
    flat = transform.normalise(torch.from_numpy(crops).flatten(0, 1))
    logits = Patches()(flat).view(9, 10, 3).mean(1)
    loss = -logits.log_softmax(1)[range(9), data.val.targets].mean()
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    network.sizes.clear()
    evaluate(network, transform, data.val, task, context, batch=7, crops=10)
    assert network.sizes == [10] * 9


def test_each_process_evaluates_every_so_many_th_picture(patches, monkeypatch):
    """Two processes, one after the other: their sums are the sums of one."""
    network, transform, data, task = patches
    whole = evaluate(network, transform, data.val, task, DistributedContext(torch.device("cpu")))
    sums = []
    monkeypatch.setattr(
        DistributedContext, "sum", lambda own, values: sums.append(values) or values
    )
    for rank in (0, 1):
        context = DistributedContext(torch.device("cpu"), rank, 2)
        evaluate(network, transform, data.val, task, context)
    count, loss, top1, _ = (sums[0] + sums[1]).tolist()
    assert count == 9 and [row[0].item() for row in sums] == [5, 4]
    assert [loss / 9, 100 * top1 / 9] == pytest.approx([whole["loss"], whole["top1"]])


@pytest.mark.parametrize("kind", [SingleLabel, MultiLabel])
def test_a_process_without_a_picture_adds_nothing(patches, monkeypatch, kind):
    network, transform, data, task = patches
    val = data.val
    if kind is MultiLabel:
        val = replace(val, targets=np.eye(3, dtype=np.float16)[val.targets])
    task, summed = kind(task.names), []
    monkeypatch.setattr(
        DistributedContext, "sum", lambda own, values: summed.append(values) or values + 1
    )
    evaluate(network, transform, val, task, DistributedContext(torch.device("cpu"), 8, 11))
    evaluate(network, transform, val, task, DistributedContext(torch.device("cpu"), 9, 11))
    assert summed[0][0] == 1 and summed[1].tolist() == [0] * len(summed[0])


def test_sums_are_in_float64():
    """2^24 + 1 is no number of float32."""
    sums = {}
    loss = torch.tensor(2.0**24 + 1, dtype=torch.float64)
    for count in (1, 2):
        accumulate(
            sums, SingleLabel(("a", "b")), torch.eye(2)[:count], torch.tensor([0, 0])[:count], loss
        )
    assert sums["loss"] == 3 * (2**24 + 1)
    found = reduce_means(sums, DistributedContext(torch.device("cpu")))
    assert found == pytest.approx({"loss": 2**24 + 1, "top1": 100 / 3, "top5": 0}, rel=1e-12)


def test_pictures_that_cannot_be_batched_or_read_are_refused(patches, capsys):
    network, transform, data, task = patches
    context = DistributedContext(torch.device("cpu"))
    with pytest.raises(ValueError, match="transform is full, without a crop"):
        evaluate(network, Transform("full", 0), data.val, task, context)
    for path in data.val.paths[1:]:
        Path(path).write_bytes(b"<html>")
    found = evaluate(network, transform, data.val, task, context)
    assert found["top5"] == 0 and math.isfinite(found["loss"])
    Path(data.val.paths[0]).unlink()
    with pytest.raises(ValueError, match="none of the pictures can be read"):
        evaluate(network, transform, data.val, task, context)
    assert capsys.readouterr().err.count("left out") == 8 + 9
