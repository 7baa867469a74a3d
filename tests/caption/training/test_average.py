"""The moving average of the weights: its decay is warmed up."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from caption.config import TrainConfig
from caption.models import Shape, build
from caption.training.learner import Learner, warmed_up_ema
from prepro.runtime.distributed import SINGLE_PROCESS


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


def test_a_run_of_a_version_without_warm_up_goes_on_without_it():
    decoder = build("show_tell", Shape(9, features=4, embedding=4, hidden=4))
    config = TrainConfig(ema=0.999)

    def averages(learner, *values):
        for value in values:
            torch.nn.init.constant_(learner.network.decoder.classify.weight, value)
            learner.step()
            yield learner.eval_model.decoder.classify.weight.unique().item()

    new = Learner(decoder, config, SINGLE_PROCESS)
    assert list(averages(new, 0, 1)) == pytest.approx([0, 1 - 2 / 11])
    state = {name: value for name, value in new.state().items() if name != "ema_warmup"}
    for old in (True, False):
        resumed = Learner(decoder, config, SINGLE_PROCESS)
        resumed.load(state if old else new.state())
        decay = 0.999 if old else 3 / 12
        (found,) = averages(resumed, 2)
        assert found == pytest.approx(decay * 9 / 11 + (1 - decay) * 2, rel=1e-5)
