"""Errors of a network on labelled pictures, with one crop of each or with ten.

In: a network, its transform, Pictures, and what they are labelled with. Out: mean errors in %.
Ten crops are fb.resnet.torch's: the centre, the four corners, and the same mirrored; their logits
are summed, without a softmax.
"""

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from prepro.encoders.memory import autocast
from prepro.pretraining.loader import Reader, loader
from prepro.runtime.distributed import DistributedContext
from prepro.transform import Transform

if TYPE_CHECKING:
    from prepro.pretraining.dataset import Pictures
    from prepro.pretraining.targets import Classes


def ten_crops(picture: Image.Image, transform: Transform) -> np.ndarray:
    """uint8 (10, 3, crop, crop): centre, top left and right, bottom left and right, mirrored."""
    picture, crop = transform.resized(picture), transform.crop
    left, top = (transform.offset(side) for side in picture.size)
    right, bottom = picture.width - crop, picture.height - crop
    planes = np.asarray(picture).transpose(2, 0, 1)
    corners = [(left, top), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    crops = np.stack([planes[:, y : y + crop, x : x + crop] for x, y in corners])
    return np.concatenate([crops, crops[..., ::-1]])


def crop_pixels(
    picture: Image.Image, index: int = 0, *, transform: Transform, crops: int = 1
) -> np.ndarray:
    """uint8 (3, H, W), or (10, 3, crop, crop) of ten crops."""
    return transform.pixels(picture) if crops == 1 else ten_crops(picture, transform)


def logits_of(
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
    pictures: "Pictures",
    labels: "Classes",
    context: DistributedContext,
    batch: int = 64,
    crops: int = 1,
    workers: int = 0,
) -> dict[str, float]:
    """Mean loss and errors, the latter in %; each process takes its share of the pictures.

    A bad picture is left out of the means. Raises ValueError where none can be read.
    """
    if transform.mode == "full":
        raise ValueError("pictures of different sizes cannot be evaluated in batches: crop them")
    pixels = functools.partial(crop_pixels, transform=transform, crops=crops)
    reader = Reader(pictures, pixels, replace=False)
    share = range(context.rank, len(pictures), context.world)
    was_training = network.training
    network.eval()
    sums: dict[str, Tensor] = {}
    for samples in loader(reader, share, max(1, batch // crops), workers):
        if samples is not None:
            logits = logits_of(network, samples[0], transform, context) / crops
            add(sums, labels, logits, samples[1].to(context.device))
    network.train(was_training)
    return means(sums, context)


def add(
    sums: dict[str, Tensor], labels: "Classes", logits: Tensor, targets: Tensor,
    loss: Tensor | None = None,
) -> None:  # fmt: skip
    """Count a batch into `sums`, weighted by its size, without waiting for the device."""
    loss = labels.loss(logits, targets) if loss is None else loss
    batch = {"count": torch.ones(len(logits)), "loss": loss.detach().expand(len(logits))}
    for key, values in {**batch, **labels.errors(logits, targets)}.items():
        total = values.to(logits.device, torch.float64).sum()
        sums[key] = sums[key] + total if key in sums else total


def means(sums: dict[str, Tensor], context: DistributedContext) -> dict[str, float]:
    """What `sums` holds over all processes: the mean loss, and errors in %."""
    if not sums and context.world == 1:
        raise ValueError("none of the pictures can be read")
    totals = dict(zip(sums, context.sum(torch.stack(list(sums.values()))).tolist(), strict=True))
    count = totals.pop("count")
    scaled = {key: (1 if key == "loss" else 100) * total / count for key, total in totals.items()}
    assert all(math.isfinite(value) for key, value in scaled.items() if key != "loss")
    return scaled
