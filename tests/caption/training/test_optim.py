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
