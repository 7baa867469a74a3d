"""A data folder: labels.json, labels.h5 and features.h5 that belong together.

data = DataFolder.open(Path("data/coco"))
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prepro.storage.feature_file import DONE, FeatureFile
from prepro.storage.label_file import Labels, read_labels


@dataclass(frozen=True)
class DataFolder:
    """The captions and the features of the same images."""

    labels: Labels
    features: FeatureFile

    @classmethod
    def open(cls, folder: Path) -> "DataFolder":
        """ValueError or FileNotFoundError names what is missing and the command that makes it."""
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such data folder; make one with: make features DATA={folder}"
            )
        labels, features = read_labels(folder), FeatureFile(folder / "features.h5")
        features.require(labels.images_sha256, len(labels.records))
        if not features.provenance.weights_sha256:
            print(
                f"{features.path}: without a hash of its features, which ties runs to them; "
                "prepro.adopt writes one",
                file=sys.stderr,
            )
        elif features.transform and features.picture is None:
            print(
                f"{features.path}: written by an earlier version, without hashes of its pictures; "
                "remove it and run prepro.features to have them",
                file=sys.stderr,
            )
        return cls(labels, features)

    @classmethod
    def of_run(cls, run: dict, folder: Path | None) -> "DataFolder":
        """`folder`, or the one that the run of a model's header was trained on."""
        if folder is None and not Path(run["config"]["data"]).is_dir():
            raise FileNotFoundError(
                f"{run['config']['data']}: the data folder that the model was trained on is not "
                "here; give --data"
            )
        return cls.open(folder or Path(run["config"]["data"]))

    def split(self, name: str) -> np.ndarray:
        """Rows (n,) of a split's images in labels.json, rising, without unreadable images."""
        rows = self.labels.split(name)
        return rows[self.features.status[rows] == DONE]
