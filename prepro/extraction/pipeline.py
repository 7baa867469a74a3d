"""One run of prepro.features: create or open the file, compute its missing rows, print a summary.

In: options, a list of images, a shard. Out: features.h5 (or the shard's file), and the exit status.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from prepro import encoders
from prepro.encoders import Encoder
from prepro.encoders.families.residual import ResidualNet
from prepro.encoders.initialisation import scale_residual_branches
from prepro.extraction import batching, image_loader
from prepro.extraction.changed_pictures import changed_rows
from prepro.extraction.extractor import Extractor
from prepro.extraction.image_list import ImageList
from prepro.extraction.options import Options
from prepro.extraction.shards import Shard, local_device
from prepro.extraction.summary import (
    COMMAND,
    count_pictures,
    count_rows,
    print_message,
    print_summary,
)
from prepro.runtime.background import BackgroundWriter
from prepro.runtime.concurrency import run_concurrently
from prepro.runtime.device import choose_device
from prepro.runtime.precision import check_precision
from prepro.runtime.progress_bar import ProgressBar
from prepro.runtime.signals import defer_sigint, resume_command
from prepro.storage import feature_writer
from prepro.storage.feature_file import DONE, FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter
from prepro.transform import FULL_SIDE, Transform


@dataclass
class Job:
    """What all shards of one extraction have in common; the network is built when it is needed."""

    options: Options
    images: ImageList
    encoder: Encoder
    device: torch.device
    precision: str
    is_quiet: bool = False
    """no bar, and no message about space"""

    @classmethod
    def of(cls, options: Options, images: ImageList) -> "Job":
        """ValueError for an encoder, a device or a precision that is not there."""
        device = choose_device(local_device(options.device))
        encoder = _load_encoder(options)
        precision = options.precision
        if precision == "auto":
            precision = "float16" if device.type == "cuda" else "float32"
        check_precision(precision, device)
        return cls(options, images, encoder, device, precision)

    @cached_property
    def extractor(self) -> Extractor:
        fixed_size, regions = self.encoder.transform.mode != "full", self.options.regions
        return Extractor(self.encoder, self.device, regions, self.precision, fixed_size)

    @cached_property
    def provenance(self) -> Provenance:
        return Provenance(
            self.encoder.name,
            self.encoder.weights,
            self.encoder.sha256,
            json.dumps(self.encoder.transform.to_dict()),
            self.images.sha256,
            self.encoder.dim,
            self.options.regions**2,
            self.precision,
        )

    def reader(self, shard: Shard) -> image_loader.ImageFolderReader:
        rows = shard.rows(len(self.images))
        names = self.images.names[rows.start : rows.stop]
        return image_loader.ImageFolderReader(self.images.root, names, self.encoder.transform)


def extract_features(options: Options, images: ImageList, shard: Shard) -> int:
    """Compute the missing rows; returns 1 if an image could not be read. OSError, ValueError."""
    if not shard.rows(len(images)):
        raise ValueError(f"--shard {shard}: more shards than the {len(images)} pictures")
    job = Job.of(options, images)
    extract_shard(job, shard)
    return print_summary(shard.path(options.data), job.reader(shard).names)


def extract_shard(job: Job, shard: Shard) -> None:
    """Compute the missing rows of one shard, and those of pictures that have changed."""
    path, reader = shard.path(job.options.data), job.reader(shard)
    _open_or_create(path, job, shard)
    file = FeatureFile(path)
    changed, stamps = changed_rows(file, reader)
    if not len(changed) and (file.status == DONE).all() and (file.is_virtual or not stamps):
        return
    if file.is_virtual:
        raise ValueError(f"{path}: its rows lie in shards; run those with --shard, then --merge")
    with FeatureWriter(path) as writer:
        if len(changed):
            writer.forget(changed)
        writer.restamp(stamps)
        try:
            _compute_missing(writer, job, reader)
        except KeyboardInterrupt:
            print_message(f"{count_rows(writer)}; go on with: {resume_command(COMMAND)}")
            raise
        except OSError as error:
            raise OSError(
                f"{path}: {error}; {count_rows(writer)}; mend that, then {resume_command(COMMAND)}"
            ) from None


def _load_encoder(options: Options) -> Encoder:
    encoder = encoders.create_encoder(options.encoder, options.weights)
    if options.weights == "none" and isinstance(encoder.network, ResidualNet):
        scale_residual_branches(encoder.network)
    return replace(encoder, transform=_change_transform(encoder.transform, options))


def _compute_missing(
    writer: FeatureWriter, job: Job, reader: image_loader.ImageFolderReader
) -> None:
    """Compute the rows that are not done, batch by batch; a background thread writes them."""
    options, extractor = job.options, job.extractor
    plan, unreadable = _plan_batches(reader, writer.status != DONE, options)
    missing = int((writer.status != DONE).sum())

    def write(batch: batching.BatchPlan, fc, att, bad: dict[int, str], marks) -> None:
        pairs = zip(batch.rows, batch.slots, strict=True)
        good = [(row, slot) for row, slot in pairs if row not in bad]
        rows, slots = np.array(good, np.int64).reshape(-1, 2).T
        fc, att = (None if x is None else x.cpu().numpy()[slots] for x in (fc, att))
        _check_finite([fc, att], [reader.names[row] for row in rows])
        writer.write(rows, fc, att, bad, picture=marks[slots])
        progress.add(len(rows), len(bad))

    with (
        defer_sigint() as check_interrupt,
        ProgressBar(missing, "features", enabled=not job.is_quiet) as progress,
        BackgroundWriter(write) as background,
    ):
        if unreadable:
            _raise_if_strict(unreadable, reader, options.strict)
            writer.write(np.array([], np.int64), None, None, unreadable)
            progress.add(0, len(unreadable))
        dataset = image_loader.BatchDataset(reader, plan)
        pin = extractor.device.type == "cuda"
        loader = image_loader.make_loader(dataset, options.workers, pin)
        with run_concurrently(
            lambda loaded: extractor(loaded[1]), loader, extractor.device
        ) as computed:
            for (batch, _, bad, marks), features in computed:
                _raise_if_strict(bad, reader, options.strict)
                background.put(batch, *features, bad, marks)
                check_interrupt()


def _plan_batches(
    reader: image_loader.ImageFolderReader, wanted: np.ndarray, options: Options
) -> tuple[list[batching.BatchPlan], dict[int, str]]:
    """The batches, and {row: reason} of the images whose headers cannot be read."""
    count, transform = len(reader.names), reader.transform
    if transform.mode != "full":
        return batching.fixed_size_batches(count, options.batch_size, transform.crop, wanted), {}
    loader = image_loader.make_loader(image_loader.ImageSizes(reader), options.workers)
    shapes = [shape for chunk in loader for shape in chunk]
    bad = {row: reason for row, reason in enumerate(shapes) if isinstance(reason, str)}
    known = [None if isinstance(shape, str) else shape for shape in shapes]
    return batching.same_size_batches(known, options.batch_size, wanted), bad


def _change_transform(transform: Transform, options: Options) -> Transform:
    """The transform of the weights, changed by --mode, --resize and --crop."""
    if options.mode == "full":
        resize = FULL_SIDE if options.resize is None else options.resize
        return replace(transform, mode="full", resize=resize)
    changes = {"resize": options.resize, "crop": options.crop}
    changes["mode"] = None if options.mode == "default" else options.mode
    return replace(transform, **{k: v for k, v in changes.items() if v is not None})


def _open_or_create(path: Path, job: Job, shard: Shard) -> None:
    """Create the file with space for all rows, or check that an existing one has the same kind."""
    if path.is_file():
        job.provenance.check(FeatureFile(path).provenance, path)
        return
    if job.encoder.published:
        path.with_name("encoder.safetensors").unlink(missing_ok=True)  # of earlier features
    else:
        _save_encoder(job.encoder, path.with_name("encoder.safetensors"))
    rows = shard.rows(len(job.images))
    ids = job.images.ids[rows.start : rows.stop]
    if not job.is_quiet:
        print_space(path, job.provenance, len(ids))
    feature_writer.create(path, job.provenance, ids, shard=str(shard), hashed=True)


def print_space(path: Path, provenance: Provenance, count: int) -> None:
    needed = feature_writer.bytes_needed(provenance, count)
    print_message(f"{path}: allocating space for {count_pictures(count)}, {needed / 1e9:,.2f} GB")


def _save_encoder(encoder: Encoder, path: Path) -> None:
    """encoders.save, with safetensors' error for a full disk as an OSError."""
    from safetensors import SafetensorError

    try:
        encoders.save(encoder, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None


def _raise_if_strict(
    bad: dict[int, str], reader: image_loader.ImageFolderReader, strict: bool
) -> None:
    if bad and strict:
        row, reason = next(iter(bad.items()))
        raise RuntimeError(f"{reader.root / reader.names[row]}: {reason} (--strict)")


def _check_finite(blocks: Sequence[np.ndarray | None], names: Sequence[str]) -> None:
    """ValueError for features that float16 cannot hold, as those of a deep untrained network."""
    for block in blocks:
        if block is None:
            continue
        bad = np.flatnonzero(~np.isfinite(block).all(tuple(range(1, block.ndim))))
        if len(bad):
            raise ValueError(
                f"{names[bad[0]]}: its features are not finite numbers in float16; check that "
                "--weights are trained weights of --encoder"
            )
