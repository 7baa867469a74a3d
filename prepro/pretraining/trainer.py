"""The loop that trains an encoder: epochs of SGD, an evaluation after each, the best one kept.

In: labelled pictures and a recipe. Out: DIR/encoder.safetensors (the best by the first of its
errors), DIR/last.pt (everything that --resume needs) and DIR/metrics.jsonl.
A resumed run ends in the very weights of one that was never stopped: the order of the pictures,
their augmentation and the mixing depend on (seed, epoch, index) and on nothing else.
"""

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from prepro import encoders
from prepro.encoders.memory import autocast, reduced_precision
from prepro.pretraining.augment import Augmentation
from prepro.pretraining.evaluate import add, evaluate, means
from prepro.pretraining.loader import Reader, loader, shuffled
from prepro.pretraining.modern_augment import mix
from prepro.pretraining.recipes import Recipe, rate
from prepro.pretraining.run_folder import RunFolder
from prepro.pretraining.state import Training

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.pretraining.dataset import Pictures
    from prepro.pretraining.targets import Classes
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class Job:
    """What stays the same while training."""

    recipe: Recipe
    train: "Pictures"
    val: "Pictures"
    labels: "Classes"
    context: "DistributedContext"
    folder: RunFolder
    crop: int
    """Side of the training crop; the encoder's transform has that of evaluation."""
    seed: int = 0
    workers: int = 0

    @property
    def window(self) -> int:
        """Iterations that a line of the journal averages: equal parts of an epoch, about 40."""
        return -(-self.per_epoch // max(1, round(self.per_epoch / 40)))

    @property
    def per_epoch(self) -> int:
        """Iterations an epoch; the last batch may be smaller."""
        share = -(-len(self.train) // self.context.world)
        return -(-share // self.batch)

    @property
    def batch(self) -> int:
        """Pictures a batch on this process."""
        return max(1, self.recipe.batch // self.context.world)

    def meant(self, encoder: "Encoder") -> dict:
        """What a resumed run must have been asked for again; plain values."""
        named = {"encoder": encoder.name, "classes": list(self.labels.names), "seed": self.seed}
        named |= {"pictures": len(self.train), "crop": self.crop, "world": self.context.world}
        recipe = {key: _plain(value) for key, value in asdict(self.recipe).items()}
        return named | recipe | {"transform": encoder.transform.to_dict()}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def begin(encoder: "Encoder", job: Job) -> Training:
    """Move the encoder to its device; optimiser, scaler and average for it."""
    recipe = job.recipe
    encoder.network.to(job.context.device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        _groups(encoder.network, recipe), lr=recipe.lr, momentum=recipe.momentum, nesterov=True
    )
    half = reduced_precision(job.context.device) is torch.float16
    average = None
    if recipe.ema:
        average = AveragedModel(
            encoder.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
        )
    return Training(encoder, optimizer, torch.amp.GradScaler(enabled=half), average)


def _groups(network: nn.Module, recipe: Recipe) -> list[dict]:
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if recipe.decay_all:
        return [{"params": learning, "weight_decay": recipe.weight_decay}]
    vectors = [parameter for parameter in learning if parameter.ndim < 2]
    matrices = [parameter for parameter in learning if parameter.ndim >= 2]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def fit(training: Training, job: Job) -> dict[str, float]:
    """Train to the recipe's last epoch; the errors of the last evaluation."""
    network, errors = training.encoder.network, {}
    if job.context.world > 1:
        network = DistributedDataParallel(network)
    while training.epoch < job.recipe.epochs:
        train_epoch(training, network, job)
        errors = evaluate(
            training.evaluated, training.encoder.transform, job.val, job.labels, job.context,
            job.batch, workers=job.workers,
        )  # fmt: skip
        training.epoch += 1
        judged = next(value for key, value in errors.items() if key != "loss")
        better = judged < training.best
        training.best = min(judged, training.best)
        if job.context.rank == 0:
            if better:
                best = replace(training.encoder, network=training.evaluated)
                encoders.save(best, job.folder.encoder, {"errors": errors})
            job.folder.save(training, job.meant(training.encoder))
            job.folder.finished(training.epoch, errors)
    return errors


def train_epoch(training: Training, network: nn.Module, job: Job) -> None:
    """One pass over the training pictures; a line of the journal for each window of iterations."""
    network.train()
    torch.manual_seed(job.seed * 100_003 + training.epoch)  # for dropout and mixing
    sums, waited, began = {}, 0.0, time.perf_counter()
    ready = began
    for number, samples in enumerate(epoch_batches(training, job), start=1):
        if samples is None:
            raise ValueError("a hundred training pictures in a row cannot be read")
        waited += time.perf_counter() - ready
        lr = rate(job.recipe, training.epoch * job.per_epoch + number - 1, job.per_epoch)
        logits, targets, loss = update(training, network, samples, lr, job)
        add(sums, job.labels, logits, targets, loss)
        ready = time.perf_counter()
        if number % job.window == 0 or number == job.per_epoch:
            averages, batches = means(sums, job.context), (number - 1) % job.window + 1
            if job.context.rank == 0:
                seconds = ((ready - began) / batches, waited / batches)
                at = (training.epoch + 1, number, job.per_epoch)
                job.folder.progress(at, averages, lr, seconds)
            sums, waited, began = {}, 0.0, ready


def epoch_batches(training: Training, job: Job) -> DataLoader:
    """This process's batches of the coming epoch."""
    order = shuffled(len(job.train), job.seed, training.epoch, job.context.rank, job.context.world)
    pixels = Augmentation(
        job.recipe.augment, job.crop, training.encoder.transform, job.seed, training.epoch
    )
    reader = Reader(job.train, pixels, replace=True)
    return loader(reader, order, job.batch, job.workers)


def update(
    training: Training, network: nn.Module, samples: tuple[Tensor, Tensor], lr: float, job: Job
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the optimiser; logits (B, C), targets and loss. A loss of NaN stops before it."""
    for group in training.optimizer.param_groups:
        group["lr"] = lr
    pixels, targets = (part.to(job.context.device, non_blocking=True) for part in samples)
    pixels = training.encoder.transform.normalise(pixels)
    if job.recipe.mix:
        pixels, targets = mix(pixels, job.labels.soft(targets), job.recipe.mix)
    with autocast(job.context.device):
        logits = network(pixels.contiguous(memory_format=torch.channels_last)).float()
    loss = job.labels.loss(logits, targets, job.recipe.smoothing)
    if not math.isfinite(loss.item()):
        raise ValueError(f"epoch {training.epoch + 1}: the loss is {loss.item()}; try a lower --lr")
    training.optimizer.zero_grad(set_to_none=True)
    training.scaler.scale(loss).backward()
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.average:
        training.average.update_parameters(training.encoder.network)
    return logits.detach(), targets, loss.detach()
