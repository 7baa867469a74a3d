"""The moving average of the weights: its decay is warmed up."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from caption.training.learner import warmed_up_ema


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_decay_is_the_smaller_of_the_given_one_and_the_warm_up(decay):
    network = nn.Linear(1, 1, bias=False)
    average, expected = AveragedModel(network, multi_avg_fn=warmed_up_ema(decay)), 0.0
    for n in range(30):
        nn.init.constant_(network.weight, n)
        average.update_parameters(network)
        rate = min(decay, (1 + n) / (10 + n)) if n else 0
        expected = rate * expected + (1 - rate) * n
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_average_follows_the_weights_from_the_first_steps():
    network = nn.Linear(4, 4)
    average = AveragedModel(network, multi_avg_fn=warmed_up_ema(0.999))
    with torch.no_grad():
        average.update_parameters(network)
        for parameter in network.parameters():
            parameter.fill_(1.0)
        for _ in range(50):
            average.update_parameters(network)
    for parameter in average.module.parameters():  # a constant decay of 0.999 would move by 5 %
        torch.testing.assert_close(parameter, torch.ones_like(parameter), rtol=0, atol=1e-3)
