"""Pictures in, `features.h5` out: what a frozen encoder sees, once and for all.

    python -m prepro.features --data data/coco --encoder resnet101 --weights default

Reads labels.json for the list of pictures, writes features.h5 beside it (prepro/feature_file.py
says what is in it) and, unless the weights are public, encoder.safetensors, so that the folder
holds all that training needs. Stopped, it goes on where it was when the same command runs again.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval import command


@dataclass(frozen=True)
class Options:
    """Extract the features of a data folder's pictures into features.h5.

    Example: python -m prepro.features --data data/coco --encoder resnet101 --weights default
    """

    data: Path = Path("data/scenes")
    """the data folder that prepro.labels made"""
    encoder: str = "resnet101"
    """name of the network; python -m prepro.encoders lists them"""
    weights: str = "default"
    """default (torchvision's best), a torchvision weight name, a file, or none (random)"""
    regions: Literal[0, 7, 14] = 7
    """side of the grid of region features; 0 stores the pooled vector alone"""
    batch_size: int = 16
    """pictures a batch"""
    workers: int = max(1, (os.cpu_count() or 2) // 2)
    """processes that decode and resize"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    strict: bool = False
    """stop at the first picture that cannot be read, instead of recording it as bad"""


def main(options: Options) -> int:
    from tqdm import tqdm

    from prepro import encoders
    from prepro.feature_file import MISSING, FeatureWriter
    from prepro.label_file import read_labels

    if options.batch_size < 1 or options.workers < 0:
        raise ValueError("--batch-size must be at least 1 and --workers at least 0")
    labels = read_labels(options.data)
    encoder = encoders.build(options.encoder, options.weights)
    path = options.data / "features.h5"
    _prepare(path, labels, encoder, options)
    with FeatureWriter(path) as writer:
        todo = (writer.status == MISSING).nonzero()[0]
        bar = tqdm(total=len(todo), desc="features", unit="picture", disable=None)
        for rows, fc, att, bad in extract(encoder, labels, todo, options):
            if bad and options.strict:
                row, reason = next(iter(bad.items()))
                raise ValueError(f"{labels.image_root / labels.records[row].path}: {reason}")
            if len(rows):
                writer.write(rows, fc, att)
            for row, reason in bad.items():
                writer.write_bad(row, reason)
            bar.update(len(rows) + len(bad))
        bar.close()
        writer.finish()
    return _report(path, labels)


def extract(encoder, labels, todo, options: Options) -> Iterator[tuple]:
    """Batches of (rows (b,), fc (b, D), att (b, R, D) or None, {row: reason} of bad pictures)."""
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader

    from prepro.device import choose

    device = choose(options.device)
    network = encoder.network.to(device, memory_format=torch.channels_last).eval()
    loader = DataLoader(
        Pictures(labels.image_root, [labels.records[i].path for i in todo], todo, encoder.transform),
        batch_size=options.batch_size,
        num_workers=options.workers,
        collate_fn=collate,
    )
    for rows, pixels, bad in loader:
        if not len(rows):
            yield rows, None, None, bad
            continue
        with torch.inference_mode():
            batch = encoder.transform.normalise(torch.from_numpy(pixels).to(device))
            grid = network.features(batch.contiguous(memory_format=torch.channels_last))
            fc = grid.mean((2, 3))  # (B, D)
            att = None
            if options.regions:
                cells = F.adaptive_avg_pool2d(grid, options.regions)
                att = cells.flatten(2).mT.half().cpu().numpy()  # (B, R, D)
            yield rows, fc.half().cpu().numpy(), att, bad


class Pictures:
    """Pixels by position, for worker processes: (row, uint8 (3, H, W) or the reason it is bad)."""

    def __init__(self, root: Path, paths: list[str], rows, transform) -> None:
        self.root, self.paths, self.rows, self.transform = root, paths, rows, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple:
        from prepro.images import BadImage, inside, open_rgb

        try:
            picture = open_rgb(inside(self.root, self.paths[i]), self.transform.resize)
            return int(self.rows[i]), self.transform.pixels(picture)
        except BadImage as error:
            return int(self.rows[i]), str(error)


def collate(items: list[tuple]) -> tuple:
    """(rows, pixels (b, 3, H, W) uint8, {row: reason})."""
    import numpy as np

    good = [(row, pixels) for row, pixels in items if not isinstance(pixels, str)]
    bad = {row: reason for row, reason in items if isinstance(reason, str)}
    pixels = np.stack([p for _, p in good]) if good else np.empty((0, 3, 1, 1), np.uint8)
    return np.array([row for row, _ in good], np.int64), pixels, bad


def _prepare(path: Path, labels, encoder, options: Options) -> None:
    """A file with room for all, or the one begun earlier if it is of the very same kind."""
    from prepro import encoders, feature_file

    provenance = feature_file.Provenance(
        encoder.name,
        encoder.weights,
        encoder.sha256,
        json.dumps(encoder.transform.to_dict()),
        labels.images_sha256,
        encoder.dim,
        options.regions**2,
    )
    if path.is_file():
        provenance.check(feature_file.FeatureFile(path).provenance, path)
        return
    if not encoder.public:
        encoders.save(encoder, path.with_name("encoder.safetensors"))
    feature_file.create(path, provenance, [record.id for record in labels.records])


def _report(path: Path, labels) -> int:
    """Say what was done; 1 when a picture was bad."""
    from prepro.feature_file import FeatureFile

    found = FeatureFile(path)
    done = len(found.status) - len(found.bad)
    shape = f"{found.provenance.regions} regions and " if found.provenance.regions else ""
    print(f"{path}: {done:,} pictures, {shape}a vector of {found.provenance.dim} each, "
          f"{path.stat().st_size / 2**20:,.1f} MiB")
    for row, reason in list(found.bad.items())[:20]:
        print(f"prepro.features: {labels.records[row].path}: {reason}", file=sys.stderr)
    if found.bad:
        print(f"prepro.features: {len(found.bad):,} pictures could not be read", file=sys.stderr)
    return 1 if found.bad else 0


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
