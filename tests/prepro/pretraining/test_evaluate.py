"""Errors and loss of a classifier: of uneven batches, of few and of many classes."""

import math

import numpy as np
import pytest
import torch

from prepro import encoders
from prepro.pretraining.datasets import open_dataset
from prepro.pretraining.evaluate import evaluate
from prepro.pretraining.tasks import SingleLabel
from prepro.runtime import precision
from prepro.runtime.distributed import DistributedContext
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
    found = evaluate(encoder.network, encoder.transform, data.val, task, context, batch=7)
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
