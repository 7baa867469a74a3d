"""One run of prepro.features: a file prepared or found, its missing rows computed, a report.

In: options, a listing, a shard. Out: features.h5 (or the shard's file), and the exit status.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from prepro import encoders
from prepro.encoders import Encoder
from prepro.encoders.families.residual import ResidualNet, scale_residual_branches
from prepro.extraction import batching, image_loader
from prepro.extraction.extractor import Extractor
from prepro.extraction.image_list import ImageList
from prepro.extraction.options import Options
from prepro.extraction.shards import Shard, local_device
from prepro.runtime.background import BackgroundWriter
from prepro.runtime.concurrency import run_concurrently
from prepro.runtime.device import choose_device
from prepro.runtime.progress import Progress
from prepro.runtime.signals import defer_sigint
from prepro.storage import feature_writer
from prepro.storage.feature_file import BAD, DONE, FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter

FULL_SIDE = 640  # the longest side of COCO's pictures: nothing of COCO is shrunk


def run(options: Options, listing: ImageList, shard: Shard) -> int:
    """Compute what is missing; 1 when a picture was bad. OSError, ValueError as the parts raise."""
    rows = shard.rows(len(listing))
    if not rows:
        raise ValueError(f"--shard {shard}: more shards than the {len(listing)} pictures")
    chosen = choose_device(local_device(options.device))
    encoder = encoders.create_encoder(options.encoder, options.weights)
    if options.weights == "none" and isinstance(encoder.network, ResidualNet):
        scale_residual_branches(encoder.network)
    encoder = replace(encoder, transform=_transform(encoder.transform, options))
    precision = options.precision
    if precision == "auto":
        precision = "float16" if chosen.type == "cuda" else "float32"
    path, names = shard.path(options.data), listing.names[rows.start : rows.stop]
    _prepare(path, listing, encoder, options, precision, shard)
    if (FeatureFile(path).status == DONE).all():
        return report(path, names)
    extractor = Extractor(
        encoder, chosen, options.regions, precision, encoder.transform.mode != "full"
    )
    source = image_loader.ImageFolderReader(listing.root, names, encoder.transform)
    with FeatureWriter(path) as writer:
        try:
            _compute(writer, extractor, source, options)
        except KeyboardInterrupt:
            _say(f"{_progress(writer)}; go on with: {_command()}")
            raise
        except OSError as error:
            raise OSError(
                f"{path}: {error}; {_progress(writer)}; mend that, then {_command()}"
            ) from None
    return report(path, names)


def _compute(
    writer: FeatureWriter,
    extractor: Extractor,
    source: image_loader.ImageFolderReader,
    options: Options,
) -> None:
    """The rows that are not done, batch by batch; writing goes on behind the computing."""
    plan, unknown = _plan(source, writer.status != DONE, options)
    todo = int((writer.status != DONE).sum())

    def write(batch: batching.BatchPlan, fc, att, bad: dict[int, str]) -> None:
        pairs = zip(batch.rows, batch.slots, strict=True)
        kept = [(row, slot) for row, slot in pairs if row not in bad]
        rows, slots = np.array(kept, np.int64).reshape(-1, 2).T
        blocks = [None if x is None else x.cpu().numpy()[slots] for x in (fc, att)]
        _check_finite(blocks, [source.names[row] for row in rows])
        writer.write(rows, *blocks, bad)
        progress.add(len(rows), len(bad))

    with defer_sigint() as check, Progress(todo) as progress, BackgroundWriter(write) as behind:
        if unknown:
            _refuse(unknown, source, options.strict)
            writer.write(np.array([], np.int64), None, None, unknown)
            progress.add(0, len(unknown))
        data = image_loader.BatchDataset(source, plan)
        loader = image_loader.make_loader(
            data, options.workers, pin=extractor.device.type == "cuda"
        )
        with run_concurrently(
            lambda loaded: extractor(loaded[1]), loader, extractor.device
        ) as computed:
            for (batch, _, bad), features in computed:
                _refuse(bad, source, options.strict)
                behind.put(batch, *features, bad)
                check()


def _plan(
    source: image_loader.ImageFolderReader, wanted: np.ndarray, options: Options
) -> tuple[list[batching.BatchPlan], dict[int, str]]:
    """The batches, and {row: reason} of pictures whose headers already say that they are bad."""
    count, transform = len(source.names), source.transform
    if transform.mode != "full":
        return batching.fixed_size_batches(count, options.batch_size, transform.crop, wanted), {}
    sizes = image_loader.make_loader(image_loader.ImageSizes(source), options.workers)
    shapes = [shape for some in sizes for shape in some]
    bad = {row: text for row, text in enumerate(shapes) if isinstance(text, str)}
    known = [None if isinstance(shape, str) else shape for shape in shapes]
    return batching.same_size_batches(known, options.batch_size, wanted), bad


def _transform(transform, options: Options):
    """The weights' own transform with what the user asked for instead."""
    if options.mode == "full":
        resize = FULL_SIDE if options.resize is None else options.resize
        return replace(transform, mode="full", resize=resize)
    changes = {"resize": options.resize, "crop": options.crop}
    changes["mode"] = None if options.mode == "default" else options.mode
    return replace(transform, **{k: v for k, v in changes.items() if v is not None})


def _prepare(
    path: Path, listing: ImageList, encoder: Encoder, options: Options, precision: str, shard: Shard
) -> None:
    """A file with room for all, or the one begun earlier if it is of the very same kind."""
    provenance = Provenance(
        encoder.name,
        encoder.weights,
        encoder.sha256,
        json.dumps(encoder.transform.to_dict()),
        listing.sha256,
        encoder.dim,
        options.regions**2,
        precision,
    )
    if path.is_file():
        provenance.check(FeatureFile(path).provenance, path)
        return
    if not encoder.published:
        _save(encoder, path.with_name("encoder.safetensors"))
    rows = shard.rows(len(listing))
    ids = listing.ids[rows.start : rows.stop]
    needed = feature_writer.bytes_needed(provenance, len(ids))
    _say(f"{path}: making room for {len(ids):,} pictures, {needed / 1e9:,.2f} GB")
    feature_writer.create(path, provenance, ids, shard=str(shard))


def _save(encoder: Encoder, path: Path) -> None:
    """encoders.save, with safetensors' own error for a full disk as an OSError."""
    from safetensors import SafetensorError

    try:
        encoders.save(encoder, path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None


def _refuse(bad: dict[int, str], source: image_loader.ImageFolderReader, strict: bool) -> None:
    if bad and strict:
        row, reason = next(iter(bad.items()))
        raise RuntimeError(f"{source.root / source.names[row]}: {reason} (--strict)")


def _check_finite(blocks: Sequence[np.ndarray | None], names: Sequence[str]) -> None:
    """ValueError for features that float16 cannot hold, as those of a deep untrained network."""
    for block in blocks:
        if block is None:
            continue
        odd = np.flatnonzero(~np.isfinite(block).all(tuple(range(1, block.ndim))))
        if len(odd):
            raise ValueError(
                f"{names[odd[0]]}: its features are not finite numbers in float16; are the weights "
                "trained, and did they load?"
            )


def report(path: Path, names: Sequence[str]) -> int:
    """Say what was done; 1 when a picture was bad. names: of the file's pictures."""
    found = FeatureFile(path)
    regions, dim = found.provenance.regions, found.provenance.dim
    done = int((found.status == DONE).sum())
    print(
        f"{path}: {done:,} pictures, {f'{regions} regions and ' if regions else ''}a vector of "
        f"{dim} each, {path.stat().st_size / 2**20:,.1f} MiB"
    )
    for row, reason in list(found.bad.items())[:20]:
        _say(f"{names[row]}: {reason}")
    if found.bad:
        _say(f"{len(found.bad):,} of {len(found):,} pictures could not be read")
    return 1 if found.bad else 0


def _progress(writer: FeatureWriter) -> str:
    done, bad = (int((writer.status == status).sum()) for status in (DONE, BAD))
    missing = len(writer.status) - done - bad
    return f"{done:,} of {len(writer.status):,} pictures done, {bad:,} bad, {missing:,} missing"


def _command() -> str:
    return f"python -m prepro.features {shlex.join(sys.argv[1:])}".rstrip()


def _say(text: str) -> None:
    print(f"prepro.features: {text}", file=sys.stderr)
