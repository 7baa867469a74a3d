"""What a stage minimises: cross entropy of people's captions, or the score of the model's own.

In: a batch and the words of its whole step. Out: (loss, sums): the loss with its graph, divided by
those words, and the sums of caption.training.scst.Statistics, which are empty in cross entropy.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from caption.config import TrainConfig
from caption.data.batches import Batch, DataFolder
from caption.decoding.rng import image_keys
from caption.models import DECODERS
from caption.training import optim
from caption.training.losses import cross_entropy
from caption.training.reward import Reward
from caption.training.scst import SelfCritical

EPOCHS = 1_000_003  # between the seeds of samples, so that no two epochs of two runs share one

Objective = Callable[[nn.Module, Batch, float, int], tuple[Tensor, Tensor]]
"""of the wrapped network, a batch, the step's words and the epoch"""


def objective(scst: bool, config: TrainConfig, data: DataFolder, device: torch.device) -> Objective:
    """The one of a stage; document frequencies of COCO take some seconds."""
    return _score(config, data, device) if scst else _words(config)


def _words(config: TrainConfig) -> Objective:
    alpha, smoothing = DECODERS[config.decoder].doubly_stochastic_weight, config.label_smoothing

    def loss(network: nn.Module, batch: Batch, tokens: float, epoch: int) -> tuple:
        feed = optim.sampling_prob(config, epoch)
        found = network(cross_entropy, batch, tokens, smoothing, feed, alpha)
        return found, found.new_zeros(0)

    return loss


def _score(config: TrainConfig, data: DataFolder, device: torch.device) -> Objective:
    """Samples are a function of (seed, epoch, image): not of the batch, the step or the process."""
    labels = data.labels
    critical = SelfCritical(
        Reward.of(labels, device, bleu=config.scst_bleu), labels.vocabulary, config.scst_samples,
        config.scst_baseline, config.scst_cross_entropy,
    )  # fmt: skip

    def loss(network: nn.Module, batch: Batch, tokens: float, epoch: int) -> tuple:
        ids = [labels.records[row].id for row in batch.rows]
        keys = image_keys(config.seed + EPOCHS * epoch, ids)
        value, found = network(critical, batch, tokens, keys)
        return value, torch.stack(found)

    return loss
