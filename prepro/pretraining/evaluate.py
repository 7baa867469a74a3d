"""Errors of a network on labelled images, with one crop of each image or ten.

In: a network, its transform, LabelledImages and their Task. Out: the mean loss, and errors in %.
The ten crops are those of fb.resnet.torch: the centre, the four corners, and their mirror images;
their logits are summed, without a softmax.
"""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from prepro.pretraining.batches import ImageReader, make_loader
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.precision import autocast
from prepro.transform import Transform

if TYPE_CHECKING:
    from prepro.pretraining.dataset import LabelledImages
    from prepro.pretraining.tasks import Task


def ten_crops(image: Image.Image, transform: Transform) -> np.ndarray:
    """uint8 (10, 3, crop, crop): centre, top left and right, bottom left and right, mirrored."""
    image, crop = transform.resized(image), transform.crop
    left, top = (transform.offset(side) for side in image.size)
    right, bottom = image.width - crop, image.height - crop
    planes = np.asarray(image).transpose(2, 0, 1)
    corners = [(left, top), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    crops = np.stack([planes[:, y : y + crop, x : x + crop] for x, y in corners])
    return np.concatenate([crops, crops[..., ::-1]])


def crop_pixels(
    image: Image.Image, index: int = 0, *, transform: Transform, crops: int = 1
) -> np.ndarray:
    """uint8 (3, H, W), or (10, 3, crop, crop) of ten crops."""
    return transform.pixels(image) if crops == 1 else ten_crops(image, transform)


def compute_logits(
    network: nn.Module, pixels: Tensor, transform: Transform, context: DistributedContext
) -> Tensor:
    """Logits (B, C) of pixels (B, 3, H, W), or (B, crops, 3, H, W) whose logits are summed."""
    flat = pixels.flatten(0, 1) if pixels.ndim == 5 else pixels
    flat = transform.normalise(flat.to(context.device, non_blocking=True))
    with autocast(context.device):
        logits = network(flat.contiguous(memory_format=torch.channels_last)).float()
    return logits.view(*pixels.shape[:-3], -1).sum(1) if pixels.ndim == 5 else logits


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    transform: Transform,
    images: "LabelledImages",
    task: "Task",
    context: DistributedContext,
    batch: int = 64,
    crops: int = 1,
    workers: int = 0,
) -> dict[str, float]:
    """The mean loss and the errors in %; each process evaluates every world-th image.

    Images that cannot be read are left out. Raises ValueError if none can be read.
    """
    if transform.mode == "full":
        raise ValueError(
            "the encoder's transform is full, without a crop: pictures cannot be batched"
        )
    to_pixels = functools.partial(crop_pixels, transform=transform, crops=crops)
    reader = ImageReader(images, to_pixels, replace=False)
    indices = range(context.rank, len(images), context.world)
    was_training = network.training
    network.eval()
    sums: dict[str, Tensor] = {}
    for samples in make_loader(reader, indices, max(1, batch // crops), workers):
        if samples is not None:
            logits = compute_logits(network, samples[0], transform, context) / crops
            accumulate(sums, task, logits, samples[1].to(context.device))
    network.train(was_training)
    if not sums:  # the other processes wait for the sums of this one
        none = torch.from_numpy(images.targets[:0]).to(context.device)
        accumulate(sums, task, torch.zeros(0, task.num_classes, device=context.device), none)
    return reduce_means(sums, context)


def accumulate(
    sums: dict[str, Tensor], task: "Task", logits: Tensor, targets: Tensor,
    loss: Tensor | None = None,
) -> None:  # fmt: skip
    """Add the loss and the errors of a batch to `sums`, without waiting for the device."""
    loss = task.loss(logits, targets) if loss is None else loss
    batch = {"count": torch.ones(len(logits)), "loss": loss.detach().expand(len(logits))}
    for key, values in {**batch, **task.errors(logits, targets)}.items():
        # Apple's GPUs have no float64
        exact = torch.float32 if logits.device.type == "mps" else torch.float64
        total = values.to(logits.device, exact).sum()
        sums[key] = sums[key] + total if key in sums else total


def reduce_means(sums: dict[str, Tensor], context: DistributedContext) -> dict[str, float]:
    """The mean loss and the errors in %, over all processes. ValueError for no image."""
    totals = dict(zip(sums, context.sum(torch.stack(list(sums.values()))).tolist(), strict=True))
    count = totals.pop("count")
    if not count:
        raise ValueError("none of the pictures can be read")
    scaled = {key: (1 if key == "loss" else 100) * total / count for key, total in totals.items()}
    assert all(math.isfinite(value) for key, value in scaled.items() if key != "loss")
    return scaled
