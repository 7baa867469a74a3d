"""A data folder of a few drawn pictures, in a second: labels, features and their encoder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from prepro import encoders
from prepro.annotations.records import ImageRecord
from prepro.encoders import Encoder
from prepro.encoders.pooling import pool
from prepro.extraction.image_loader import digest
from prepro.storage.feature_file import Provenance
from prepro.storage.feature_writer import FeatureWriter, create
from prepro.storage.label_file import images_sha256, write_labels
from prepro.transform import Transform
from prepro.vocabulary import vocabulary_from_captions

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 210), "grey": (128,) * 3}
NAMES = tuple(COLOURS)


def make_folder(folder: Path, train: int = 23, val: int = 7, weights: str = "none") -> Path:
    """Pictures of two coloured halves; one to six captions each, some of which say left.

    `weights`: what the encoder's are drawn to come from; BatchNorm of "none" is trained.
    """
    rng = np.random.default_rng(0)
    records, splits = [], ["train"] * train + ["val"] * val + ["test"] * 2
    (folder / "images").mkdir(parents=True)
    for i, split in enumerate(splits):
        one, two = rng.choice(NAMES, 2, replace=False)
        pixels = np.empty((40, 48, 3), np.uint8)
        pixels[:, :24], pixels[:, 24:] = COLOURS[one], COLOURS[two]
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        every = (
            f"{one} and {two}", f"a {one} half", f"{one} left of {two}", f"something {two} here",
            f"a picture of {one} and of {two} colours", f"{two}",
        )  # fmt: skip
        drawn = tuple(every[: rng.integers(2, 7)])
        records.append(ImageRecord(100 + i, f"images/{i}.png", split, drawn))
    _write(folder, records, weights)
    return folder


def _write(folder: Path, records: list[ImageRecord], weights: str) -> None:
    tokens = [caption.split() for record in records for caption in record.captions]
    vocabulary, _ = vocabulary_from_captions(tokens, 0)
    write_labels(folder, records, vocabulary, [vocabulary.encode(t) for t in tokens], 9, {})
    encoder = encoders.create_encoder("resnet10-w8", "none")
    encoder = replace(encoder, transform=Transform(resize=36, crop=32))
    encoders.save(encoder, folder / "encoder.safetensors")
    provenance = Provenance(
        encoder.name, weights, encoder.sha256, json.dumps(encoder.transform.to_dict()),
        images_sha256(records), encoder.dim, 4,
    )  # fmt: skip
    create(folder / "features.h5", provenance, [record.id for record in records], hashed=True)
    paths = [folder / record.path for record in records]
    fc, att = features_of(encoder, paths)
    picture = np.array([(digest(path.read_bytes()), 0, 0) for path in paths])
    with FeatureWriter(folder / "features.h5") as writer:
        writer.write(np.arange(len(records)), fc.numpy(), att.numpy(), picture=picture)


def features_of(encoder: Encoder, paths: list[Path]) -> tuple[torch.Tensor, torch.Tensor]:
    grids = []
    for path in paths:
        with Image.open(path) as picture:
            grids.append(torch.from_numpy(encoder.transform.pixels(picture)))
    with torch.no_grad():
        return pool(encoder.network.features(encoder.transform.normalise(torch.stack(grids))), 2)
