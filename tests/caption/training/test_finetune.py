"""Fine-tuning: what learns, at which rate, from which pictures, and what the run keeps of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from caption import train
from caption.captioner import Captioner
from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.training import checkpoint, image_batches, optim
from caption.training.objectives import build_objective
from caption.training.setup import open_trainer
from prepro.encoders.memory import FrozenBatchNorm
from prepro.runtime.distributed import DistributedContext
from prepro.storage import left_right
from prepro.transform import Transform
from tests.caption.drawn_folder import make_folder

HERE = DistributedContext(torch.device("cpu"))
TINY = TrainConfig(
    decoder="att2in", hidden=8, embedding=8, dropout=0, epochs=1, batch_size=4, workers=0,
    captions_per_image=2, device="cpu", learning_rate=5e-3, finetune_after=0,
    encoder_learning_rate=1e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Pictures and features of an encoder whose weights are names_left to be trained."""
    folder = tmp_path_factory.mktemp("finetune") / "learned"
    return make_folder(folder, train=12, val=3, weights="names_left")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("finetune") / "untrained", train=12, val=3)


def made(data, folder, **more):
    return open_trainer(replace(TINY, data=data, out=folder, **more), HERE)


def one_step(trainer):
    """The names of the encoder's tensors that a step changes, buffers among them."""
    assert trainer.enter_epoch(0)
    network = trainer.learner.network.encoder.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trainer.update(next(iter(trainer.epoch(0))))
    after = network.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("layers", [1, 2, 4, 9])
def test_the_last_stages_learn_and_nothing_else(layers, learned, tmp_path):
    """Of trained weights: no statistic moves, and no scale or shift of a BatchNorm. With all four
    stages, the layer before them learns too."""
    trainer = made(learned, tmp_path, finetune_layers=layers)
    network = trainer.learner.network.encoder.network
    parts = [f"layer{i}." for i in range(1, 5)][-layers:]
    convolutions = {n for n, p in network.named_parameters() if "fc." not in n}
    expected = {n for n in convolutions if layers >= 4 or n.startswith(tuple(parts))}
    assert 0 < len(expected) <= len(convolutions)
    assert any(isinstance(module, FrozenBatchNorm) for module in network.modules())
    assert one_step(trainer) == expected


def test_from_nothing_everything_learns(untrained, tmp_path):
    """Random weights have no statistics yet: those move too."""
    changed = one_step(made(untrained, tmp_path, finetune_layers=9))
    assert {"conv1.weight", "bn1.running_mean", "bn1.weight", "layer4.0.conv1.weight"} <= changed


def test_the_encoder_has_its_own_rate(learned, tmp_path):
    trainer = made(learned, tmp_path, encoder_learning_rate=0, weight_decay=0.1)
    assert one_step(trainer) == set()
    groups = {group["name"]: group["lr"] for group in trainer.learner.optimizer.param_groups}
    assert groups == {"decoder": 5e-3, "encoder": 0}
    counted = sum(len(g["params"]) for g in trainer.learner.optimizer.param_groups)
    learning = [p for p in trainer.learner.network.parameters() if p.requires_grad]
    assert counted == len(learning)


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("weights", ["learned", "untrained"])
def test_saving_memory_gives_the_same_gradients(critical, weights, request, tmp_path):
    """In self-critical training too, where the pictures have a graph and the samples none. The
    blocks are computed again in the backward pass."""
    found, calls = [], []
    for save_memory in (False, True):
        data, after = request.getfixturevalue(weights), 0 if critical else -1
        rest = {"save_memory": save_memory, "scst_after": after, "finetune_layers": 9}
        trainer = made(data, tmp_path / str(save_memory), **rest)
        trainer.enter_epoch(0)
        batches = next(iter(trainer.epoch(0)))
        block = trainer.learner.network.encoder.network.layer4[0]
        block.conv1.register_forward_hook(lambda *_, saving=save_memory: calls.append(saving))
        loss, *sums = trainer.learner.backward(trainer.objective, batches, 10, 0)
        assert bool(sums) == critical, "cross entropy has no statistics"
        grads = [p.grad for p in trainer.learner.network.parameters() if p.requires_grad]
        assert all(grad is not None for grad in grads)
        found.append([torch.tensor(loss), *grads])
    assert calls == [False, True, True]
    assert any(grad.abs().max() > 1e-6 for grad in found[0][1:])
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-7)


def test_the_score_reaches_the_encoder_through_the_samples_probability(untrained, tmp_path):
    """The gradient of REINFORCE with the features of the pictures, by finite differences."""
    trainer = made(untrained, tmp_path, scst_after=0, finetune_layers=9)
    trainer.learner.network.eval()
    (batch,) = next(iter(trainer.epoch(0)))
    critical = build_objective(True, trainer.config, trainer.data, HERE.device)
    weight = trainer.learner.network.encoder.network.layer4[0].conv1.weight
    value, _ = critical(trainer.learner.network, batch, 10, 0)
    (slope,) = torch.autograd.grad(value, weight)
    direction = slope / slope.norm()
    ends = []
    for way in (1e-2, -1e-2):
        with torch.no_grad():
            weight.add_(way * direction)
            ends.append(critical(trainer.learner.network, batch, 10, 0)[0].item())
            weight.sub_(way * direction)
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(slope.norm().item(), rel=0.05)


def test_pictures_with_left_or_right_are_never_mirrored(learned):
    labels = DataFolder.open(learned).labels
    sided = left_right.mentions_left_or_right(labels)
    names_left = [any("left" in c.split() for c in record.captions) for record in labels.records]
    assert sided.tolist() == names_left and 0 < sum(names_left) < len(names_left)
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    transform, mirrored = Transform(resize=36, crop=32), []
    for allowed in (False, True):
        for seed in range(30):
            one, two = (
                image_batches.augment(
                    Image.fromarray(pixels), transform, np.random.default_rng(seed), m
                )
                for m in (allowed, False)
            )
            mirrored.append(not np.array_equal(one, two))
            assert not mirrored[-1] or np.array_equal(one, two[:, :, ::-1])
    assert not any(mirrored[:30]) and 5 < sum(mirrored[30:]) < 25


def test_the_model_of_a_fine_tuned_run_is_complete(learned, tmp_path):
    """model.safetensors alone reads pictures as the run's network does, to float16's precision."""
    trainer = made(learned, tmp_path / "run", finetune_layers=9)
    assert train.train(trainer) == 0
    captioner = Captioner.load(tmp_path / "run" / "model.safetensors")
    trained, decoder = (
        trainer.learner.network.encoder.eval(),
        trainer.learner.network.decoder.eval(),
    )
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        seen, loaded = trained(pixels), captioner.encode_batch(pixels)
        words = torch.ones(3, 1, 4, dtype=torch.int64)
        for one, two in zip(seen[:2], loaded[:2], strict=True):
            assert torch.allclose(one, two, rtol=1e-3, atol=1e-3)
        one, two = decoder(seen, words), captioner.decoder(loaded, words)
        assert torch.allclose(one, two, atol=1e-2)
    frozen = DataFolder.open(learned).features.provenance.weights_sha256
    assert captioner.encoder.sha256 != frozen


def test_a_fine_tuned_run_starts_another(learned, tmp_path):
    """With its own encoder; without --finetune-after 0 the features would be another's."""
    one = tmp_path / "one"
    train.train(made(learned, one))
    best = checkpoint.load(one, "best")["model"]
    again = made(learned, tmp_path / "two", start=one, scst_after=0)
    for name, tensor in again.learner.network.state_dict().items():
        assert torch.equal(tensor, best[name]), name
    groups = [group["name"] for group in again.learner.optimizer.param_groups]
    assert groups == ["decoder", "encoder"] and not again.learner.optimizer.state
    with pytest.raises(ValueError, match="--finetune-after 0"):
        made(learned, tmp_path / "three", start=one, finetune_after=-1)


def test_fine_tuning_begins_after_its_epochs(learned, tmp_path, monkeypatch):
    trainer, rates = made(learned, tmp_path, finetune_after=1, epochs=2, ema=0.5), []
    set_rates = optim.set_rates
    monkeypatch.setattr(
        optim, "set_rates", lambda o, r: rates.append(len(o.param_groups)) or set_rates(o, r)
    )
    assert trainer.learner.network.encoder is None and trainer.store is not None
    assert train.train(trainer) == 0
    assert rates == [1] * 3 + [2] * 3
    assert trainer.learner.eval_model.encoder is not None and trainer.progress.stage_epoch == 1


def test_the_decoders_average_goes_on_when_fine_tuning_begins(learned, tmp_path):
    trainer = made(learned, tmp_path, finetune_after=1, epochs=2, ema=0.5)
    average = trainer.learner.average
    average.n_averaged.fill_(7)
    with torch.no_grad():
        for weight in average.module.decoder.parameters():
            weight.fill_(0.25)
    assert trainer.enter_epoch(1)
    average = trainer.learner.average
    assert average.module.encoder is not None and average.n_averaged == 7
    assert all((weight == 0.25).all() for weight in average.module.decoder.parameters())
