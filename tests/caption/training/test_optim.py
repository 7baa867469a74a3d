"""Schedules against tables, and clipping against its definition."""

import pytest
import torch

from caption.config import TrainConfig
from caption.presets import transformer
from caption.training import optim
from caption.training.progress import Progress


def test_learning_rate_falls_by_a_fifth_every_three_epochs():
    config = TrainConfig(learning_rate=5e-4)
    rates = [optim.learning_rates(config, Progress(epoch=epoch))["decoder"] for epoch in range(8)]
    assert rates == pytest.approx([5e-4] * 3 + [4e-4] * 3 + [3.2e-4] * 2)


def test_warm_up_is_linear_then_flat():
    config = transformer()
    found = {
        step: optim.learning_rates(config, Progress(step, 9))["decoder"]
        for step in (0, 9_999, 19_999, 50_000)
    }
    assert found == pytest.approx({0: 5e-4 / 20_000, 9_999: 2.5e-4, 19_999: 5e-4, 50_000: 5e-4})


def test_the_encoders_falls_count_from_its_first_epoch():
    config = TrainConfig(encoder_learning_rate=1e-5)
    rates = [
        optim.learning_rates(config, Progress(epoch=epoch, stage_epoch=20))["encoder"]
        for epoch in (20, 22, 23, 26)
    ]
    assert rates == pytest.approx([1e-5, 1e-5, 8e-6, 6.4e-6])


def test_self_critical_rates_are_constant_and_need_no_warm_up():
    for progress in (Progress(scst=True), Progress(99, 30, scst=True)):
        rates = optim.learning_rates(transformer(), progress)
        assert rates == {"decoder": 5e-5, "encoder": 1e-5}


def test_scheduled_sampling_rises_to_its_bound():
    config = TrainConfig(scheduled_sampling=0.25)
    chances = [optim.sampling_prob(config, epoch) for epoch in (0, 4, 5, 10, 25, 100)]
    assert chances == pytest.approx([0, 0, 0.05, 0.1, 0.25, 0.25])
    assert optim.sampling_prob(TrainConfig(), 100) == 0


@pytest.mark.parametrize(
    ("mode", "expected"), [("value", [0.1, -0.1, 0.05]), ("norm", [0.06, -0.08, 0.05 / 50])]
)
def test_clipping(mode, expected):
    """The gradient (3, -4, 0.05) has the norm 5.00025."""
    weight = torch.zeros(3, requires_grad=True)
    weight.grad = torch.tensor([3.0, -4.0, 0.05])
    norm = optim.clip([weight], TrainConfig(clip=0.1, clip_mode=mode))
    assert norm == pytest.approx((9 + 16 + 0.0025) ** 0.5)
    assert weight.grad.tolist() == pytest.approx(expected, rel=1e-3)


def test_no_clipping():
    weight = torch.zeros(2, requires_grad=True)
    weight.grad = torch.tensor([3.0, -4.0])
    assert optim.clip([weight], TrainConfig(clip=0)) == pytest.approx(5)
    assert weight.grad.tolist() == [3, -4]


def test_adam_against_its_formula():
    """Two steps on given gradients, by hand (Kingma and Ba 2015, algorithm 1)."""
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data[:] = 1.0
    optimizer = optim.build(layer, TrainConfig())
    m = v = 0.0
    x = 1.0
    for t, g in enumerate((0.3, -0.1), start=1):
        optim.set_rates(optimizer, {"decoder": 0.01})
        layer.weight.grad = torch.tensor([[g]])
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= 0.01 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        assert float(layer.weight.detach()) == pytest.approx(x, rel=1e-5)


def test_weight_decay_is_decoupled_from_the_gradient():
    """Loshchilov and Hutter 2019: x loses learning rate x decay x itself, whatever the moments."""
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data[:] = 2.0
    optimizer = optim.build(layer, TrainConfig(learning_rate=0.1, weight_decay=0.5))
    layer.weight.grad = torch.zeros(1, 1)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(2 - 0.1 * 0.5 * 2)


def test_only_what_is_trained_of_an_encoder_gets_its_rate():
    decoder, encoder = torch.nn.Linear(2, 2), torch.nn.Linear(3, 1)
    encoder.bias.requires_grad_(False)
    optimizer = optim.build(decoder, TrainConfig())
    optim.add_encoder(optimizer, encoder)
    optim.set_rates(optimizer, {"decoder": 0.5, "encoder": 0.25})
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert [group["lr"] for group in groups.values()] == [0.5, 0.25]
    assert len(groups["encoder"]["params"]) == 1 and groups["encoder"]["params"][0].shape == (1, 3)


@pytest.mark.parametrize("mode", ["value", "norm"])
def test_parameters_without_a_gradient_are_passed_over(mode):
    used, unused = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    used.grad = torch.tensor([-2.0])
    assert optim.clip(iter([unused, used]), TrainConfig(clip=1, clip_mode=mode)) == 2
    assert used.grad.item() == pytest.approx(-1, rel=1e-5) and unused.grad is None


def test_no_decay_and_no_warm_up_leave_the_rate_alone():
    config = TrainConfig(decay_every=0, encoder_learning_rate=1e-5)
    for progress in (Progress(), Progress(5, 40, stage_epoch=9)):
        assert optim.learning_rates(config, progress) == {"decoder": 4e-4, "encoder": 1e-5}
