"""The pictures that caption.generate captions, and what each run's encoder sees in them.

In: a ensemble, and a split of a data folder or a folder of pictures. Out: features, batch by batch.
Stored features serve a run that was trained on them; all others (a fine-tuned encoder, a folder of
pictures, a member of an ensemble with another encoder) look at the pictures themselves.
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
from caption.inference.ensemble import CaptionEnsemble
from caption.inference.image_paths import images_in_folder
from caption.models import Features
from prepro.images import BadImage, inside, open_rgb
from prepro.storage.feature_file import FeatureFile

THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes and resizes without Python's lock


class Loaded(NamedTuple):
    """A batch as it comes from the disk."""

    number: int
    indices: list[int]
    """in the source, of the pictures that could be read"""
    parts: list[Features | list[Tensor]]
    """of each member: stored features, or the pictures' pixels"""
    bad: dict[int, str]
    """index -> why the picture cannot be read"""


@dataclass(frozen=True)
class Source:
    ensemble: CaptionEnsemble
    ids: Sequence[int | str]
    paths: Sequence[Path]
    rows: np.ndarray
    """of the stored features"""
    stores: Sequence[FeatureStore | None]
    """one a member; None where it looks at the pictures"""

    @classmethod
    def of_split(cls, ensemble: CaptionEnsemble, data: DataFolder, split: str) -> "Source":
        """ValueError for a split without pictures, and for a name that leads elsewhere."""
        rows = data.split(split)
        records = [data.labels.records[row] for row in rows]
        paths = [inside(data.labels.image_root, record.path) for record in records]
        stores = [_store(member, data.features) for member in ensemble.members]
        return cls(ensemble, [record.id for record in records], paths, rows, stores)

    @classmethod
    def of_folder(cls, ensemble: CaptionEnsemble, folder: Path) -> "Source":
        """A picture's id is its file's name. FileNotFoundError for a folder without pictures."""
        paths = images_in_folder(folder)
        looks = [None] * len(ensemble.members)
        return cls(ensemble, [path.name for path in paths], paths, np.arange(len(paths)), looks)

    def batches(self, size: int, numbers: Sequence[int]) -> Iterator[Loaded]:
        """The batches of `size` pictures with these numbers; a thread reads ahead."""
        looking = [m for m, s in zip(self.ensemble.members, self.stores, strict=True) if s is None]
        sides = [member.encoder.transform.resize for member in looking]
        read = partial(self._read, list(zip(looking, sides, strict=True)))
        with ThreadPoolExecutor(THREADS) as pool:
            indices = range(len(self.ids))
            yield from prefetch(
                self._load(pool, read, number, indices[number * size : (number + 1) * size])
                for number in numbers
            )

    def features(self, loaded: Loaded) -> Features | list[Features]:
        """What the ensemble decodes from."""
        found = [
            part if isinstance(part, Features) else member.see(part)
            for member, part in zip(self.ensemble.members, loaded.parts, strict=True)
        ]
        return self.ensemble.joined(found)

    def _load(
        self, pool: ThreadPoolExecutor, read: Callable, number: int, indices: range
    ) -> Loaded:
        pixels = dict(zip(indices, pool.map(read, indices), strict=True))
        bad = {index: reason for index, reason in pixels.items() if isinstance(reason, str)}
        good = [index for index in indices if index not in bad]
        each = iter(zip(*(pixels[index] for index in good), strict=True))
        parts = [next(each, ()) if s is None else s(self.rows[good]) for s in self.stores]
        return Loaded(number, good, parts, bad)

    def _read(self, members: Sequence[tuple[Captioner, int]], index: int) -> list[Tensor] | str:
        """One picture as each of `members` reads it, or why it cannot be read."""
        try:
            opened = {side: open_rgb(self.paths[index], side) for side in {s for _, s in members}}
            return [member.pixels(opened[side]) for member, side in members]
        except BadImage as error:
            return str(error)


@dataclass(frozen=True)
class OnTheFlyFeatures:
    """What a run's own encoder sees, from the pictures; one that cannot be read counts as black."""

    member: Captioner
    data: DataFolder

    def __call__(self, rows: np.ndarray) -> Features:
        return self.member.see([self._pixels(row) for row in rows])

    def _pixels(self, row: int) -> Tensor:
        path = inside(self.data.labels.image_root, self.data.labels.records[row].path)
        transform = self.member.encoder.transform
        try:
            return self.member.pixels(open_rgb(path, transform.resize))
        except BadImage:
            return torch.zeros(3, transform.crop, transform.crop, dtype=torch.uint8)


def seen_by(member: Captioner, data: DataFolder) -> FeatureStore | OnTheFlyFeatures:
    """The features of `data` as the run sees them: the stored ones where they are its own."""
    return _store(member, data.features) or OnTheFlyFeatures(member, data)


def _store(member: Captioner, features: FeatureFile) -> FeatureStore | None:
    """The stored features if the member's own encoder made them, and as it reads pictures now."""
    if not features_match_encoder(member, features):
        print(
            f"{features.path}: of another encoder than this run's (or read in another way); every "
            "picture is looked at anew", file=sys.stderr,
        )  # fmt: skip
        return None
    device = next(member.decoder.parameters()).device
    return FeatureStore(features, member.regions > 0, "disk", device)


def features_match_encoder(member: Captioner, features: FeatureFile) -> bool:
    """Whether features.h5 holds what this run's own encoder sees."""
    about, transform = features.provenance, member.seen_by.get("transform") or {}
    if about.weights_sha256 != member.seen_by["sha256"]:
        return False
    if not features.transform:  # another system's
        return not transform
    if about.encoder != member.seen_by["encoder"]:  # a dilated network has its twin's weights
        return False
    return features.transform == transform and member.regions**2 in (0, about.regions)
