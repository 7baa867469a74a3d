"""The images that caption.generate captions, and their features for each member of an ensemble.

In: an ensemble, and a split of a data folder or a folder of images. Out: features, batch by batch.
Stored features are used for a run that was trained on them. For every other run (fine-tuned
encoder, folder of images, a member with another encoder) the images are encoded on the fly.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from caption.captioner import Captioner
from caption.data.batches import prefetch
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore
from caption.inference.caption_ensemble import CaptionEnsemble
from caption.inference.image_paths import images_in_folder
from caption.models import Features
from prepro.extraction.image_loader import digest
from prepro.images import BadImage, inside, open_rgb, read_file
from prepro.remote import RemotePath
from prepro.runtime.distributed import DistributedContext
from prepro.storage.feature_file import FeatureFile
from prepro.tar_images import split_path

THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and resizes without holding Python's lock


class LoadedBatch(NamedTuple):
    """A batch read from disk."""

    number: int
    indices: list[int]
    """of the images that could be read, in the source"""
    inputs: list[Features | list[Tensor]]
    """of each member: stored features, or the pixels of the images"""
    bad: dict[int, str]
    """index -> why the image cannot be read"""
    digests: dict[int, int]
    """index -> hash of the bytes of an image that was encoded; empty for stored features"""


@dataclass(frozen=True)
class ImageSource:
    ensemble: CaptionEnsemble
    ids: Sequence[int | str]
    paths: Sequence[Path]
    rows: np.ndarray
    """of the stored features"""
    stores: Sequence[FeatureStore | None]
    """of each member; None if it encodes the images on the fly"""

    @classmethod
    def of_split(cls, ensemble: CaptionEnsemble, data: DataFolder, split: str) -> "ImageSource":
        """ValueError for a split without images, and for a file name outside the image folder."""
        rows = data.split(split)
        records = [data.labels.records[row] for row in rows]
        paths = [inside(data.labels.image_root, record.path) for record in records]
        stores = [_store(member, data.features) for member in ensemble.members]
        return cls(ensemble, [record.id for record in records], paths, rows, stores)

    @classmethod
    def of_folder(cls, ensemble: CaptionEnsemble, folder: Path) -> "ImageSource":
        """The id of an image is its file name. FileNotFoundError for a folder without images."""
        paths = images_in_folder(folder)
        stores = [None] * len(ensemble.members)
        return cls(ensemble, [path.name for path in paths], paths, np.arange(len(paths)), stores)

    def stamps(self) -> list[tuple[int, int] | None]:
        """Size and time of each image that is encoded on the fly, to notice another under its name.

        None for an image that is missing or in object storage; an empty list if all members use
        stored features.
        """
        return [_stamp(path) for path in self.paths] if None in self.stores else []

    def batches(self, size: int, numbers: Sequence[int]) -> Iterator[LoadedBatch]:
        """The batches of `size` images with these numbers, read in the background."""
        members = [
            member
            for member, store in zip(self.ensemble.members, self.stores, strict=True)
            if store is None
        ]
        sides = [member.encoder.transform.resize for member in members]
        read = partial(self._read, list(zip(members, sides, strict=True)))
        with ThreadPoolExecutor(THREADS) as pool:
            indices = range(len(self.ids))
            yield from prefetch(
                self._load(pool, read, number, indices[number * size : (number + 1) * size])
                for number in numbers
            )

    def features(self, batch: LoadedBatch) -> Features | list[Features]:
        """The features that the ensemble decodes from."""
        found = [
            part if isinstance(part, Features) else member.encode_pixels(part)
            for member, part in zip(self.ensemble.members, batch.inputs, strict=True)
        ]
        return self.ensemble.pack_features(found)

    def _load(
        self, pool: ThreadPoolExecutor, read: Callable, number: int, indices: range
    ) -> LoadedBatch:
        if None not in self.stores:
            inputs = [store(self.rows[list(indices)]) for store in self.stores]
            return LoadedBatch(number, list(indices), inputs, {}, {})
        found = dict(zip(indices, pool.map(read, indices), strict=True))
        bad = {index: reason for index, reason in found.items() if isinstance(reason, str)}
        good = [index for index in indices if index not in bad]
        digests = {index: found[index][0] for index in good}
        per_member = iter(zip(*(found[index][1] for index in good), strict=True))
        inputs = [
            next(per_member, ()) if store is None else store(self.rows[good])
            for store in self.stores
        ]
        return LoadedBatch(number, good, inputs, bad, digests)

    def _read(
        self, members: Sequence[tuple[Captioner, int]], index: int
    ) -> tuple[int, list[Tensor]] | str:
        """The hash and, for each of `members`, the pixels of one image, or why it is bad."""
        try:
            data = read_file(self.paths[index])
            opened = {side: open_rgb(data, side) for side in {s for _, s in members}}
            return digest(data), [member.pixels(opened[side]) for member, side in members]
        except BadImage as error:
            return str(error)


def _stamp(path: Path) -> tuple[int, int] | None:
    if isinstance(path, RemotePath):
        return None
    try:
        tar = split_path(path)
        found = (tar[0] if tar else path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class OnTheFlyFeatures:
    """Features that a run's own encoder computes; an unreadable image counts as a black one."""

    member: Captioner
    data: DataFolder

    def __call__(self, rows: np.ndarray) -> Features:
        return self.member.encode_pixels([self._pixels(row) for row in rows])

    def _pixels(self, row: int) -> Tensor:
        path = inside(self.data.labels.image_root, self.data.labels.records[row].path)
        transform = self.member.encoder.transform
        try:
            return self.member.pixels(open_rgb(path, transform.resize))
        except BadImage:
            return torch.zeros(3, transform.crop, transform.crop, dtype=torch.uint8)


def features_for(member: Captioner, data: DataFolder) -> FeatureStore | OnTheFlyFeatures:
    """The stored features if the run's own encoder made them, else features computed on the fly."""
    return _store(member, data.features) or OnTheFlyFeatures(member, data)


def _store(member: Captioner, features: FeatureFile) -> FeatureStore | None:
    if not features_match_encoder(member, features):
        print(
            f"{features.path}: made by another encoder or transform than this run's; every picture "
            "is encoded again", file=sys.stderr,
        )  # fmt: skip
        return None
    device = next(member.decoder.parameters()).device
    return FeatureStore(features, member.regions > 0, "disk", DistributedContext(device))


def features_match_encoder(member: Captioner, features: FeatureFile) -> bool:
    """Whether features.h5 holds the output of this run's own encoder and transform.

    A converted run whose encoder is unknown takes any features of its size.
    """
    about, transform = features.provenance, member.encoder_info.get("transform") or {}
    if not member.encoder_info["sha256"]:
        return about.dim == member.decoder.shape.features
    if about.weights_sha256 != member.encoder_info["sha256"]:
        return False
    if not features.transform:  # imported from another system
        return not transform
    if about.encoder != member.encoder_info["encoder"]:  # a dilated network has the same weights
        return False
    return features.transform == transform and member.regions**2 in (0, about.regions)
