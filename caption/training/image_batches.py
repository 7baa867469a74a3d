"""Batches of pixels for fine-tuning: decoded in workers, cropped and mirrored at random.

In: selections of images. Out: batches with pixels. The augmentation of an image depends on (seed,
epoch, row) only, not on workers or on where training resumed. An image whose captions mention left
or right is never mirrored, since mirroring would make them false.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from caption.data.batches import Batch, CaptionSet, Selection
from caption.data.data_folder import DataFolder
from caption.data.feature_store import InMemoryFeatures
from caption.models import Features
from caption.training.caption_model import FinetunedEncoder
from prepro.extraction import batching, image_loader
from prepro.images import BadImage, inside, open_rgb
from prepro.runtime.workers import exit_with_parent, forkserver, identity
from prepro.storage.label_file import Labels
from prepro.transform import Transform


@dataclass(frozen=True)
class AugmentedImages(Dataset):
    """Item i is the pixels of plan[i], uint8 (B, 3, crop, crop), and why some images are black."""

    labels: Labels
    transform: Transform
    plan: Sequence[Selection]
    never_mirrored: np.ndarray
    """(N,) bool, by row of labels.json"""
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[int, str]]:
        selection, bad = self.plan[index], {}
        crop = self.transform.crop
        pixels = np.zeros((len(selection.rows), 3, crop, crop), np.uint8)
        for i, row in enumerate(selection.rows.tolist()):
            rng = np.random.default_rng((self.seed, self.epoch, row, 2))
            mirror = not self.never_mirrored[row]
            try:
                path = inside(self.labels.image_root, self.labels.records[row].path)
                image = open_rgb(path, 2 * self.transform.resize)
                pixels[i] = augment(image, self.transform, rng, mirror)
            except BadImage as error:
                bad[i] = f"{path}: {error}"
        return torch.from_numpy(pixels), bad


def augment(
    image: Image.Image, transform: Transform, rng: np.random.Generator, mirror: bool
) -> np.ndarray:
    """A random crop of the resized image, mirrored with probability 1/2 if `mirror` is true.

    Returns pixels (3, crop, crop) uint8. If the transform crops nothing, the image is first resized
    to 8/7 of the crop.
    """
    crop = transform.crop
    image = replace(transform, resize=max(transform.resize, -(-crop * 8 // 7))).resized(image)
    left, top = (int(rng.integers(0, side - crop + 1)) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop))).transpose(2, 0, 1)
    return pixels[:, :, ::-1] if rng.random() < 0.5 and mirror else pixels


def load(
    captions: CaptionSet, dataset: AugmentedImages, workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches of `dataset.plan` with their pixels on the device."""
    workers = min(workers, len(dataset))
    loader = DataLoader(
        dataset, batch_size=None, collate_fn=identity, num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # leaves the global generator alone
        multiprocessing_context=(
            forkserver(["caption.training.image_batches"]) if workers else None
        ),
        worker_init_fn=exit_with_parent,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    for selection, (pixels, bad) in zip(dataset.plan, loader, strict=True):
        batch = captions.batch(selection)
        for i, reason in bad.items():
            print(f"caption.train: left out {reason}", file=sys.stderr)
            batch.token_mask[i] = False
        yield batch._replace(pixels=pixels.to(device, non_blocking=True))


def encode_images(
    encoder: FinetunedEncoder, data: DataFolder, rows: np.ndarray, workers: int,
    device: torch.device,
) -> InMemoryFeatures:  # fmt: skip
    """The encoder's features of the images at `rows` (n,), rising, without augmentation.

    Leaves the encoder in evaluation mode.
    """
    transform = encoder.encoder.transform
    names = [data.labels.records[row].path for row in rows]
    reader = image_loader.ImageFolderReader(data.labels.image_root, names, transform)
    plan = batching.fixed_size_batches(len(rows), 32, transform.crop, [True] * len(rows))
    loader = image_loader.make_loader(image_loader.BatchDataset(reader, plan), workers)
    fcs, atts = [], []
    encoder.eval()
    with torch.inference_mode():
        for batch, pixels, *_ in loader:
            fc, att, _ = encoder(pixels[: len(batch.rows)].to(device))
            fcs.append(fc.half().cpu())
            atts.append(att if att is None else att.half().cpu())
    if not fcs:
        return InMemoryFeatures(rows, Features(torch.empty(0)), device)
    features = Features(torch.cat(fcs), torch.cat(atts) if encoder.side else None)
    return InMemoryFeatures(rows, features, device)
