"""Where features are kept while a decoder is trained.

In: features.h5, or features that were just computed. Out: store(rows) -> Features on the device.

B images, R regions, D channels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from caption.data.shared_tensors import shared_tensors
from caption.models import Features
from prepro.runtime.distributed import SINGLE_PROCESS, DistributedContext, all_gather
from prepro.storage.feature_file import FeatureFile

ROWS = 1024  # read at a time


class Store(Protocol):
    """What batches and validation need of features."""

    device: torch.device

    def __call__(self, rows: np.ndarray) -> Features:
        """Features of the images at `rows` (B,) of labels.json, float32 on the device."""


class FeatureStore:
    """features.h5 on the training device, in memory, or on disk."""

    def __init__(
        self, file: FeatureFile, regions: bool, location: str,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> None:  # fmt: skip
        """`regions`: whether att is needed; `location`: device, memory, disk or auto.

        In memory, the processes of one machine share one copy.
        """
        if regions and not file.provenance.regions:
            raise ValueError(
                f"{file.path}: no region features, which this decoder needs; extract them with "
                "python -m prepro.features --regions 7"
            )
        self.file, self.regions, self.device = file, regions, context.device
        self.location = location if location != "auto" else _choose_location(self.bytes, context)
        self.fc: Tensor | None = None
        self.att: Tensor | None = None
        if self.location == "memory":
            self.fc, self.att = self._load_shared(context)
        elif self.location == "device":
            rows = np.arange(len(file))
            self.fc = torch.from_numpy(file.fc(rows)).to(self.device)
            self.att = torch.from_numpy(file.att(rows)).to(self.device) if regions else None

    @property
    def where(self) -> str:
        """One line: the location and the size of the features."""
        phrases = {"device": f"on {self.device}", "memory": "in memory", "disk": "on disk"}
        size = f"{self.bytes / 1e9:.1f} GB" if self.bytes > 5e7 else f"{self.bytes / 1e6:.1f} MB"
        return f"features {phrases[self.location]}: {size}"

    @property
    def bytes(self) -> int:
        about = self.file.provenance
        return 2 * len(self.file.status) * about.dim * (1 + self.regions * about.regions)

    def _load_shared(self, context: DistributedContext) -> tuple[Tensor, Tensor | None]:
        about, count = self.file.provenance, len(self.file)
        shapes = [(count, about.dim), *([(count, about.regions, about.dim)] * self.regions)]

        def fill(tensors: Sequence[Tensor]) -> None:
            for start in range(0, count, ROWS):
                rows = np.arange(start, min(start + ROWS, count))
                blocks = (self.file.fc(rows), self.file.att(rows) if self.regions else None)
                for tensor, block in zip(tensors, blocks, strict=False):
                    tensor[start : start + len(rows)] = torch.from_numpy(block)

        fc, *att = shared_tensors(context, shapes, torch.float16, fill)
        return fc, att[0] if att else None

    def __call__(self, rows: np.ndarray) -> Features:
        att = mask = None
        if self.location == "disk":
            fc = torch.from_numpy(self.file.fc(rows))
            att = torch.from_numpy(self.file.att(rows)) if self.regions else None
        else:
            index = torch.from_numpy(rows).to(self.fc.device)
            fc, att = self.fc[index], self.att[index] if self.regions else None
        if self.regions and self.file.count is not None:
            mask = torch.from_numpy(self.file.mask(rows)).to(self.device)
        fc = fc.to(self.device, non_blocking=True).float()
        att = att if att is None else att.to(self.device, non_blocking=True).float()
        return Features(fc, att, mask)


class InMemoryFeatures:
    """Features of some images, computed a moment ago, in memory as float16."""

    def __init__(self, rows: np.ndarray, features: Features, device: torch.device) -> None:
        """`rows` (n,) rising, of the images that `features` belong to."""
        self.rows, self.features, self.device = rows, features, device

    def __call__(self, rows: np.ndarray) -> Features:
        index = torch.from_numpy(np.searchsorted(self.rows, rows))
        fc, att, _ = self.features
        fc = fc[index].to(self.device).float()
        return Features(fc, None if att is None else att[index].to(self.device).float())


def _choose_location(size: int, context: DistributedContext) -> str:
    """The fastest location whose free memory is at least twice `size`, in every process."""
    device = context.device
    on_device = device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 2
    rooms = all_gather(context, (on_device, size < _free_memory() / 2))
    on_device, in_memory = (all(room) for room in zip(*rooms, strict=True))
    return "device" if on_device else "memory" if in_memory else "disk"


def _free_memory() -> int:
    """Bytes; 4 GiB if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(li.split()[1]) * 1024 for li in lines if li.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 << 30
