"""The objective of a stage: cross entropy of human captions, or self-critical training.

In: a batch and the number of tokens of the whole step. Out: (loss, sums): the loss with its graph,
divided by that number, and the sums of caption.training.scst.Statistics, empty for cross entropy.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from caption.config import TrainConfig
from caption.data.batches import Batch
from caption.data.data_folder import DataFolder
from caption.decoding.rng import image_keys
from caption.models import DECODERS
from caption.training import optim
from caption.training.losses import cross_entropy
from caption.training.reward import Reward
from caption.training.scst import SelfCritical

EPOCH_STRIDE = 1_000_003  # between the sampling seeds of two epochs, so that no two runs share one

Objective = Callable[[nn.Module, Batch, float, int], tuple[Tensor, Tensor]]
"""called with the wrapped network, a batch, the number of tokens of the step, and the epoch"""


def build_objective(
    scst: bool, config: TrainConfig, data: DataFolder, device: torch.device
) -> Objective:
    """The objective of a stage. The document frequencies of COCO take some seconds."""
    return _self_critical(config, data, device) if scst else _cross_entropy(config)


def _cross_entropy(config: TrainConfig) -> Objective:
    weight = DECODERS[config.decoder].doubly_stochastic_weight

    def loss(network: nn.Module, batch: Batch, num_tokens: float, epoch: int) -> tuple:
        probability = optim.sampling_prob(config, epoch)
        options = (config.label_smoothing, probability, weight)
        value = network(cross_entropy, batch, num_tokens, *options)
        return value, value.new_zeros(0)

    return loss


def _self_critical(config: TrainConfig, data: DataFolder, device: torch.device) -> Objective:
    """A sample depends on (seed, epoch, image), not on the batch, the step or the process."""
    labels = data.labels
    criterion = SelfCritical(
        Reward.of(labels, device, bleu=config.scst_bleu), labels.vocabulary, config.scst_samples,
        config.scst_baseline, config.scst_cross_entropy,
    )  # fmt: skip

    def loss(network: nn.Module, batch: Batch, num_tokens: float, epoch: int) -> tuple:
        ids = [labels.records[row].id for row in batch.rows]
        keys = image_keys(config.seed + EPOCH_STRIDE * epoch, ids)
        value, statistics = network(criterion, batch, num_tokens, keys)
        return value, torch.stack(statistics)

    return loss
