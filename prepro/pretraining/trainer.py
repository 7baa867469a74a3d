"""The training loop of an encoder: epochs of SGD, an evaluation and a checkpoint after each.

In: a TrainingSetup. Out: DIR/encoder.safetensors (of the epoch with the lowest error), DIR/last.pt
(for --resume) and DIR/metrics.jsonl.
A resumed run ends in exactly the weights of an uninterrupted one: the order of the images, their
augmentation and the mixing depend on (seed, epoch, index) and on nothing else.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from prepro import encoders
from prepro.encoders.depthwise import float32_depthwise_gradients
from prepro.encoders.memory import channels_last
from prepro.pretraining import checkpoint
from prepro.pretraining.augment import Augmentation
from prepro.pretraining.batches import ImageReader, epoch_order, make_loader
from prepro.pretraining.checkpoint import TrainingState
from prepro.pretraining.evaluate import accumulate, evaluate, reduce_means
from prepro.pretraining.modern_augment import mixup_or_cutmix
from prepro.pretraining.recipes import Recipe, learning_rate
from prepro.pretraining.setup import TrainingSetup
from prepro.pretraining.training_log import PretrainingLog
from prepro.runtime.distributed import all_sum, broadcast_buffers, wrap_for_gradients
from prepro.runtime.precision import autocast, reduced_precision

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.runtime.signals import StopRequest

ENCODER_FILE = "encoder.safetensors"


def init_state(encoder: "Encoder", setup: TrainingSetup) -> TrainingState:
    """Move the encoder to its device; build its optimizer, gradient scaler and weight average."""
    recipe = setup.recipe
    float32_depthwise_gradients(channels_last(encoder.network.to(setup.context.device)))
    optimizer = torch.optim.SGD(
        _param_groups(encoder.network, recipe),
        lr=recipe.lr, momentum=recipe.momentum, nesterov=True,
    )  # fmt: skip
    use_scaler = reduced_precision(setup.context.device) is torch.float16
    average = None
    if recipe.ema:
        average = AveragedModel(
            encoder.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
        )
    return TrainingState(encoder, optimizer, torch.amp.GradScaler(enabled=use_scaler), average)


def _param_groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if recipe.decay_all:
        return [{"params": trainable, "weight_decay": recipe.weight_decay}]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def fit(state: TrainingState, setup: TrainingSetup, stop: "StopRequest") -> bool:
    """Train to the recipe's last epoch; False if a signal stopped the training before."""
    network = wrap_for_gradients(state.encoder.network, setup.context)
    with PretrainingLog(setup, state.epoch) as log:
        while state.epoch < setup.recipe.epochs:
            if not train_epoch(state, network, setup, log, stop):
                return False
            finish_epoch(state, setup, log)
    return True


def train_epoch(
    state: TrainingState, network: nn.Module, setup: TrainingSetup, log: PretrainingLog,
    stop: "StopRequest",
) -> bool:  # fmt: skip
    """One pass over the training images; False if a signal stopped it on any process.

    ValueError if the images cannot be read or the loss is not finite.
    """
    network.train()
    torch.manual_seed(setup.seed * 100_003 + state.epoch)  # for dropout and mixing
    steps, sums, images = setup.steps_per_epoch, {}, 0
    for number, samples in enumerate(epoch_loader(state, setup), start=1):
        if any(all_sum(setup.context, stop.status)):
            return False
        if samples is None:
            raise ValueError("a hundred training pictures in a row cannot be read; see above")
        lr = learning_rate(setup.recipe, state.epoch * steps + number - 1, steps)
        logits, targets, loss = train_step(state, network, samples, lr, setup)
        accumulate(sums, setup.task, logits, targets, loss)
        images += len(logits) * setup.context.world
        if number % setup.log_every == 0 or number == steps:
            measures = reduce_means(sums, setup.context)
            log.add_window(state.epoch + number / steps, measures, lr, images)
            sums, images = {}, 0
    return True


def finish_epoch(state: TrainingState, setup: TrainingSetup, log: PretrainingLog) -> None:
    """Evaluate; export the encoder if it is the best so far; write the checkpoint."""
    broadcast_buffers(setup.context, state.eval_network)
    measures = evaluate(
        state.eval_network, state.encoder.transform, setup.val, setup.task, setup.context,
        setup.batch, workers=setup.workers,
    )  # fmt: skip
    state.epoch += 1
    error = measures[setup.task.main_error]
    improved = error < state.best
    state.best = min(error, state.best)
    log.finish_epoch(state.epoch, measures)
    if setup.context.rank == 0:
        if improved:
            best = replace(state.encoder, network=state.eval_network)
            encoders.save(best, setup.folder / ENCODER_FILE, {"errors": measures})
        checkpoint.save(setup.folder, state, setup.settings(state.encoder))


def epoch_loader(state: TrainingState, setup: TrainingSetup) -> DataLoader:
    """This process's batches of the coming epoch."""
    context = setup.context
    order = epoch_order(len(setup.train), setup.seed, state.epoch, context.rank, context.world)
    augmentation = Augmentation(
        setup.recipe.augment, setup.crop, state.encoder.transform, setup.seed, state.epoch
    )
    reader = ImageReader(setup.train, augmentation, replace=True)
    return make_loader(reader, order, setup.batch, setup.workers)


def train_step(
    state: TrainingState, network: nn.Module, samples: tuple[Tensor, Tensor], lr: float,
    setup: TrainingSetup,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One step of the optimizer; returns logits (B, C), targets and the loss.

    ValueError, before any weight changes, if the loss is not finite.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    pixels, targets = (tensor.to(setup.context.device, non_blocking=True) for tensor in samples)
    pixels = state.encoder.transform.normalise(pixels)
    if setup.recipe.mix:
        soft_targets = setup.task.to_probabilities(targets)
        pixels, targets = mixup_or_cutmix(pixels, soft_targets, setup.recipe.mix)
    with autocast(setup.context.device):
        logits = network(pixels.contiguous(memory_format=torch.channels_last)).float()
    loss = setup.task.loss(logits, targets, setup.recipe.smoothing)
    if not math.isfinite(loss.item()):
        raise ValueError(f"epoch {state.epoch + 1}: the loss is {loss.item()}; try a lower --lr")
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average:
        state.average.update_parameters(state.encoder.network)
    return logits.detach(), targets, loss.detach()
