"""The pictures that caption.sample captions: files, or pictures of a data folder.

In: names on a command line. Out: pictures, batch by batch as features, and the boxes of their
regions where they are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caption.data.data_folder import DataFolder
from caption.inference.caption_ensemble import CaptionEnsemble
from caption.inference.image_source import features_for
from caption.models import Features
from prepro.images import BadImage, inside, open_rgb
from prepro.storage.feature_file import DONE


@dataclass(frozen=True)
class FilePictures:
    """Files, which each member of the ensemble encodes."""

    ensemble: CaptionEnsemble

    def open(self, name: str) -> tuple[Image.Image, ...]:
        """The picture as each member reads it. BadImage."""
        return self.ensemble.open_image(name)

    def encode(self, opened: Sequence[tuple[Image.Image, ...]]) -> Features | list[Features]:
        return self.ensemble.encode(opened)

    def picture(self, opened: tuple[Image.Image, ...]) -> Image.Image:
        return opened[0]

    def boxes(self, opened: Any) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class StoredPictures:
    """Pictures of a data folder, with the features that are stored there."""

    ensemble: CaptionEnsemble
    data: DataFolder

    def open(self, name: str) -> int:
        """The row of a picture by its file, its path in labels.json or its id. BadImage."""
        row = self._rows.get(name)
        if row is None:
            row = self._rows.get(str(Path(name).resolve()))
        if row is None:
            raise BadImage(f"no picture of {self.data.labels.folder}/labels.json")
        if self.data.features.status[row] != DONE:
            raise BadImage(f"no features ({self.data.features.bad.get(row, 'missing')})")
        return row

    def encode(self, opened: Sequence[int]) -> Features | list[Features]:
        rows = np.array(opened)
        return self.ensemble.pack_features([store(rows) for store in self._stores])

    def picture(self, opened: int) -> Image.Image:
        """BadImage for a file that is not there."""
        labels = self.data.labels
        return open_rgb(inside(labels.image_root, labels.records[opened].path))

    def boxes(self, opened: int) -> np.ndarray | None:
        """(R, 4) of the regions that are no padding, as features.h5 holds them."""
        row, features = np.array([opened]), self.data.features
        if not features.has_boxes:
            return None
        found = features.boxes(row)[0][features.mask(row)[0]]
        return found if found.any() else None

    @cached_property
    def _stores(self) -> list:
        return [features_for(member, self.data) for member in self.ensemble.members]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """By every name of a picture; a path wins over another picture's id."""
        labels = self.data.labels
        found = {str(record.id): row for row, record in enumerate(labels.records)}
        root = labels.image_root.resolve()
        for row, record in enumerate(labels.records):
            found[record.path] = found[str(root / record.path)] = row
        return found
