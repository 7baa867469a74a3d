"""The training loop against a loop written by hand, and what it keeps and reports."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from prepro import encoders, pretrain
from prepro.pretraining import checkpoint, trainer
from prepro.pretraining.batches import epoch_order
from prepro.pretraining.datasets import open_dataset
from prepro.pretraining.recipes import choose_recipe
from prepro.pretraining.setup import TrainingSetup
from prepro.pretraining.tasks import SingleLabel
from prepro.pretraining.training_log import PretrainingLog
from prepro.runtime import precision
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.signals import StopRequest
from tests.prepro.pretraining.test_datasets import write_folder

CPU = DistributedContext(torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(write_folder(tmp_path_factory.mktemp("data") / "d", count=5, size=24))


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setattr(precision, "reduced_precision", lambda device: None)


def encoder_of(data):
    encoder = encoders.create_encoder("resnet8-w4", seed=3)
    encoder = encoders.reset_classifier(encoder, data.classes, 3)
    return replace(encoder, transform=replace(encoder.transform, resize=24, crop=16))


def setup_of(data, folder, **changes):
    changes = {"batch": 4, "epochs": 3, "augment": "none", "lr": 0.1} | changes
    recipe = choose_recipe("small", **changes)
    return TrainingSetup(recipe, data.train, data.val, SingleLabel(data.classes), CPU, folder, 16)


def fit(data, folder, epochs=3, state=None, **changes):
    setup = setup_of(data, folder, epochs=epochs, **changes)
    state = state or trainer.init_state(encoder_of(data), setup)
    assert trainer.fit(state, setup, StopRequest())
    return state


def rows_of(folder, part):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if part in row]


def test_training_is_nesterovs_sgd(data, tmp_path):
    """Three epochs of batches of 4, 4 and 2; two of them are the warm-up, the third a cosine."""
    network = encoder_of(data).network.train()
    transform = encoder_of(data).transform
    rates = [0.1 * n / 6 for n in range(1, 7)] + [0.1, 0.075, 0.025]
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors, "weight_decay": 0}]
    optimizer = torch.optim.SGD(groups, lr=1, momentum=0.9, nesterov=True)
    losses = []
    for step, rate in enumerate(rates):
        epoch, first = step // 3, 4 * (step % 3)
        rows = epoch_order(10, 0, epoch)[first : first + 4]
        pixels = np.stack([transform.pixels(data.train.open(row)) for row in rows])
        logits = network(transform.normalise(torch.from_numpy(pixels)))
        targets = torch.from_numpy(data.train.targets[rows])
        loss = F.cross_entropy(logits, targets, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    state = fit(data, tmp_path)
    for name, tensor in state.encoder.network.state_dict().items():
        assert torch.allclose(tensor, network.state_dict()[name], rtol=1e-3, atol=1e-5), name
    trained = rows_of(tmp_path, "train")
    assert [row["epoch"] for row in trained] == [1, 2, 3]
    assert [row["lr"] for row in trained] == pytest.approx(rates[2::3])
    means = [np.average(losses[i : i + 3], weights=(4, 4, 2)) for i in (0, 3, 6)]
    assert [row["train"]["loss"] for row in trained] == pytest.approx(means, rel=1e-4)


def test_weight_decay_of_all_weights_or_of_matrices(data, tmp_path):
    encoder = encoder_of(data)
    frozen = next(encoder.network.parameters()).requires_grad_(False)
    for recipe, decay in (("small", (5e-4, 0)), ("cifar", (1e-4, 1e-4))):
        setup = replace(setup_of(data, tmp_path), recipe=choose_recipe(recipe, lr=0.2))
        optimizer = trainer.init_state(encoder, setup).optimizer
        of = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
        trained = [p for p in encoder.network.parameters() if p is not frozen]
        assert [of[id(p)] for p in trained] == [decay[p.ndim < 2] for p in trained]
        assert len(of) == len(trained)
        assert all(g["lr"] == 0.2 and g["momentum"] == 0.9 for g in optimizer.param_groups)


def test_the_average_includes_the_buffers(data, tmp_path):
    state = trainer.init_state(encoder_of(data), setup_of(data, tmp_path, ema=0.9))
    network = state.encoder.network
    name, mean = next((n, b) for n, b in network.named_buffers() if n.endswith("running_mean"))
    weight = next(network.parameters())
    for value in (0.0, 1.0, 1.0):
        mean.fill_(value)
        torch.nn.init.constant_(weight, value)
        state.average.update_parameters(network)
    averaged = dict(state.eval_network.named_buffers())[name]
    for found in (averaged, next(state.eval_network.parameters())):
        assert found.mean().item() == pytest.approx(1 - 0.9**2, rel=1e-5)
    plain = trainer.init_state(encoder_of(data), setup_of(data, tmp_path))
    assert plain.average is None and plain.eval_network is plain.encoder.network


def test_the_first_of_the_best_epochs_is_exported(data, tmp_path, monkeypatch, capsys):
    """Of errors 50, 20, 20 and 30 % the second."""
    errors, weights = iter([50.0, 20.0, 20.0, 30.0]), []

    def evaluated(network, *_, **__):
        weights.append(next(network.parameters()).detach().clone())
        return {"loss": 1.0, "top1": next(errors)}

    monkeypatch.setattr(trainer, "evaluate", evaluated)
    state = fit(data, tmp_path, epochs=4)
    assert (state.epoch, state.best) == (4, 20.0)
    best = encoders.load(tmp_path / "encoder.safetensors")
    assert torch.equal(next(best.network.parameters()), weights[1])
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 4
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}" for n in (1, 2, 3, 4)]


def test_a_long_epoch_has_several_rows(tmp_path):
    """Of 64 steps two, at the half and at the end."""
    data = open_dataset(write_folder(tmp_path / "d", count=32, size=24))
    fit(data, tmp_path, epochs=1, batch=1)
    rows = rows_of(tmp_path, "train")
    assert [row["epoch"] for row in rows] == [0.5, 1]
    assert [row["lr"] for row in rows] == pytest.approx([0.1 * 32 / 128, 0.1 * 64 / 128])


def test_a_window_counts_the_pictures_of_all_processes(tmp_path, monkeypatch, capsys):
    """A picture that cannot be read is replaced, so it counts as well."""
    data = open_dataset(write_folder(tmp_path / "d", count=5, size=24))
    Path(data.train.paths[0]).write_bytes(b"<html>")
    monkeypatch.setattr(DistributedContext, "sum", lambda own, values: values)
    counted = []
    log = SimpleNamespace(add_window=lambda epoch, measures, lr, images: counted.append(images))
    for world in (1, 2):
        context = DistributedContext(torch.device("cpu"), 0, world)
        setup = replace(setup_of(data, tmp_path), context=context)
        state = trainer.init_state(encoder_of(data), setup)
        assert trainer.train_epoch(state, state.encoder.network, setup, log, StopRequest())
    assert counted == [10, 10]
    assert "left out" in capsys.readouterr().err


def test_an_interrupted_epoch_is_not_counted(data, tmp_path):
    setup = setup_of(data, tmp_path)
    state = trainer.init_state(encoder_of(data), setup)
    stop = StopRequest(130)
    assert not trainer.fit(state, setup, stop)
    assert state.epoch == 0 and not (tmp_path / "last.pt").exists()


def test_a_checkpoint_of_something_else_is_refused(data, tmp_path):
    setup = setup_of(data, tmp_path)
    state = trainer.init_state(encoder_of(data), setup)
    torch.save({"epoch": 1}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: not a checkpoint of prepro\.pretrain"):
        checkpoint.load(tmp_path, state, setup.settings(state.encoder))
    assert (state.epoch, state.best) == (0, float("inf"))


def test_dropout_and_mixing_depend_on_the_seed_and_the_epoch(data, tmp_path):
    drawn = []

    class Log(PretrainingLog):
        def add_window(self, *_):
            drawn.append(torch.rand(()).item())

    setup = setup_of(data, tmp_path)
    state = trainer.init_state(encoder_of(data), setup)
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0)):
        own, state.epoch = replace(setup, seed=seed), epoch
        assert trainer.train_epoch(state, state.encoder.network, own, Log(own, 0), StopRequest())
    assert len(set(drawn)) == 4 and drawn[0] == drawn[4]


def options(folder, out, **changes):
    return pretrain.Options(data=folder, out=out, **{"encoder": "resnet8-w4"} | changes)


@pytest.mark.parametrize(
    ("changes", "crop", "resize"),
    [
        ({}, 224, 256),
        ({"crop": 112}, 112, 128),  # 8/7 of the crop
        ({"crop": 112, "resize": 120}, 112, 120),
        ({"resize": 300}, 224, 300),
    ],
)
def test_sizes_of_the_crop_and_before_it(data, tmp_path, changes, crop, resize):
    recipe, given = choose_recipe("captions"), {"encoder": "resnet10-w8"} | changes
    encoder = pretrain.prepare_encoder(options(tmp_path, tmp_path, **given), recipe, data)
    assert (encoder.transform.crop, encoder.transform.resize) == (crop, resize)
    assert (encoder.transform.interpolation, encoder.transform.rounding) == ("bilinear", "round")


def test_a_data_set_and_a_recipe_set_the_transform_of_a_new_encoder(data, tmp_path):
    """Not that of an encoder that was trained with another one."""
    own = replace(data, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    recipe = choose_recipe("imagenet")
    found = pretrain.prepare_encoder(options(tmp_path, tmp_path), recipe, own).transform
    assert (found.mean, found.std) == (own.mean, own.std)
    assert (found.interpolation, found.rounding) == ("bicubic", "ceil")  # of fb.resnet.torch
    encoders.save(encoder_of(data), tmp_path / "e.safetensors")
    start = options(tmp_path, tmp_path, retrain=str(tmp_path / "e.safetensors"))
    assert pretrain.prepare_encoder(start, recipe, own).transform == encoder_of(data).transform


def test_memory_is_saved_if_asked_for(data, tmp_path, monkeypatch):
    from prepro.encoders import memory

    called = []
    for name in ("freeze_norms", "checkpoint_blocks"):
        monkeypatch.setattr(memory, name, lambda network, name=name: called.append(name))
    recipe = choose_recipe("small")
    pretrain.prepare_encoder(options(tmp_path, tmp_path), recipe, data)
    assert called == []
    for name in ("freeze_norms", "checkpoint_blocks"):
        pretrain.prepare_encoder(options(tmp_path, tmp_path, **{name: True}), recipe, data)
    assert called == ["freeze_norms", "checkpoint_blocks"]


def test_the_best_error_and_a_crop_for_training(data, tmp_path, monkeypatch, capsys):
    crops, errors = [], iter([50.0, 12.345])

    def epoch(state, network, setup, log, stop):
        crops.append(setup.crop)
        log.image_count = 1
        return True

    monkeypatch.setattr(trainer, "train_epoch", epoch)
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: {"loss": 1, "top1": next(errors)})
    sizes = {"crop": 112, "epochs": 1, "device": "cpu"}
    for name, more in (("a", {"train_crop": 96}), ("b", {})):
        given = options(tmp_path, tmp_path / name, **sizes | more)
        assert pretrain.run(given, data, SingleLabel(data.classes)) == 0
    assert crops == [96, 112]
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/a/encoder.safetensors  best top-1 error 50.00 %",
        f"{tmp_path}/b/encoder.safetensors  best top-1 error 12.35 %",
    ]


def test_a_stop_on_another_process_has_the_status_of_a_signal(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pretrain", "--data", "d"])
    assert pretrain.report_stop(2, StopRequest(130), CPU) == 130
    go_on = "python -m prepro.pretrain --data d --resume"
    assert capsys.readouterr().err == (
        f"stopped in epoch 3, which is repeated; go on with: {go_on}\n"
    )
    other = DistributedContext(torch.device("cpu"), 1, 2)
    assert pretrain.report_stop(2, StopRequest(), other) == 143  # 128 + SIGTERM
    assert capsys.readouterr().err == ""
