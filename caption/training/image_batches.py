"""Pictures for an encoder that is trained: decoded in workers, cropped and mirrored at random.

In: batches of picks. Out: batches with pixels. What happens to a picture depends on (seed, epoch,
row) alone, not on workers or on where training resumed. A picture of which a caption says left or
right is never mirrored: self-critical training compares with all of its captions.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from caption.data.batches import Batch, CaptionSet, DataFolder, Picks
from caption.data.feature_store import InMemoryFeatures
from caption.models import Features
from caption.training.caption_model import FinetunedEncoder
from prepro.extraction import batching, image_loader
from prepro.images import BadImage, inside, open_rgb
from prepro.runtime.workers import exit_with_parent, forkserver, identity
from prepro.storage.label_file import Labels
from prepro.transform import Transform

SIDED = re.compile(r"(left|right)(most|wards?|[- ]?hand(ed)?|side)?")


@dataclass(frozen=True)
class Augmented(Dataset):
    """Item i is the pixels of plan[i], uint8 (B, 3, crop, crop), and why some are black."""

    labels: Labels
    transform: Transform
    plan: Sequence[Picks]
    sided: np.ndarray
    """(N,) bool: which pictures have a caption that says left or right"""
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[int, str]]:
        picks, bad = self.plan[index], {}
        crop = self.transform.crop
        pixels = np.zeros((len(picks.rows), 3, crop, crop), np.uint8)
        for index, row in enumerate(picks.rows.tolist()):
            rng = np.random.default_rng((self.seed, self.epoch, row, 2))
            mirror = not self.sided[row]
            try:
                path = inside(self.labels.image_root, self.labels.records[row].path)
                picture = open_rgb(path, 2 * self.transform.resize)
                pixels[index] = augment(picture, self.transform, rng, mirror)
            except BadImage as error:
                bad[index] = f"{path}: {error}"
        return torch.from_numpy(pixels), bad


def augment(
    picture: Image.Image, transform: Transform, rng: np.random.Generator, mirror: bool
) -> np.ndarray:
    """A random crop of the resized picture, and half the time its mirror image if `mirror` allows.

    Pixels (3, crop, crop) uint8. What the transform crops nothing from is made 8/7 larger first.
    """
    crop = transform.crop
    picture = replace(transform, resize=max(transform.resize, -(-crop * 8 // 7))).resized(picture)
    left, top = (int(rng.integers(0, side - crop + 1)) for side in picture.size)
    pixels = np.asarray(picture.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)
    return pixels[:, :, ::-1] if rng.random() < 0.5 and mirror else pixels


def sided_images(labels: Labels) -> np.ndarray:
    """(N,) bool: the pictures with a caption that a mirror would make untrue."""
    words = [i for i, word in enumerate(labels.vocabulary.words, 1) if SIDED.fullmatch(word)]
    captions = np.append(0, np.isin(labels.labels, words).any(1).cumsum())  # so far, and before
    first, last = labels.ranges.T
    return captions[last] > captions[first]


def batches(
    captions: CaptionSet, data: Augmented, workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches of `data.plan` with their pixels on the device."""
    workers = min(workers, len(data))
    loader = DataLoader(
        data, batch_size=None, collate_fn=identity, num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # so that it leaves the global one alone
        multiprocessing_context=forkserver(["caption.training.image_batches"]) if workers else None,
        worker_init_fn=exit_with_parent,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    for picks, (pixels, bad) in zip(data.plan, loader, strict=True):
        batch = captions.batch(picks)
        for index, reason in bad.items():
            print(f"caption.train: left out {reason}", file=sys.stderr)
            batch.token_mask[index] = False
        yield batch._replace(pixels=pixels.to(device, non_blocking=True))


def encode_images(
    encoder: FinetunedEncoder,
    data: DataFolder,
    rows: np.ndarray,
    workers: int,
    device: torch.device,
) -> InMemoryFeatures:
    """What the encoder sees now in the pictures at `rows` (n,), rising; no augmentation."""
    transform = encoder.encoder.transform
    names = [data.labels.records[row].path for row in rows]
    source = image_loader.ImageFolderReader(data.labels.image_root, names, transform)
    plan = batching.fixed_size_batches(len(rows), 32, transform.crop, [True] * len(rows))
    fcs, atts = [], []
    was_training = encoder.training
    encoder.eval()
    with torch.inference_mode():
        for batch, pixels, _ in image_loader.make_loader(
            image_loader.BatchDataset(source, plan), workers
        ):
            fc, att, _ = encoder(pixels[: len(batch.rows)].to(device))
            fcs.append(fc.half().cpu())
            atts.append(att if att is None else att.half().cpu())
    encoder.train(was_training)
    if not fcs:
        return InMemoryFeatures(rows, Features(torch.empty(0)), device)
    return InMemoryFeatures(
        rows, Features(torch.cat(fcs), torch.cat(atts) if encoder.side else None), device
    )
