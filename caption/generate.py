"""Caption a split or a folder of pictures and write COCO's results.json.

    python -m caption.generate --run runs/default --split test --out results.json
    torchrun --nproc-per-node 8 -m -- caption.generate --run runs/default --images pictures

In: a run, and a data folder or a folder of pictures. Out: results.json, whole or not at all. After
a stop or a kill the same command continues. Several processes take pieces of the batches until all
are done, and one joins them; the result is that of one process. Several --run form an ensemble.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from caption.decoding.flags import DecodeFlags, apply_flags
from caption.pretrained import model_file, model_name
from eval import command
from eval.files import printable

if TYPE_CHECKING:
    import torch

    from caption.decoding.decode import Caption, DecodeOptions
    from caption.inference.image_source import ImageSource, LoadedBatch
    from eval.metrics.document_frequencies import Frequencies
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class Options:
    """Caption every picture of a split or of a folder, in the results format of COCO.

    Example: python -m caption.generate --run runs/default --split test --out results.json
    """

    out: Path = Path("results.json")
    """file to write: [{"image_id", "caption"}]; with --n also all captions under "captions\""""
    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run's folder, a model.safetensors, or flickr8k, the model that comes with the package
    (default: runs/latest; without one, flickr8k); several form an ensemble"""
    images: Path | None = None
    """folder of pictures to caption, instead of a split"""
    data: Path | None = None
    """data folder (default: that of the run)"""
    split: Literal["train", "val", "test"] = "test"
    """split of the data folder to caption"""
    coco: str = ""
    """name of your algorithm: write captions_SET_NAME_results.json beside --out, as COCO's test
    server expects it, with the numbers in the file names as image ids"""
    batch_size: int = 50
    """pictures that are captioned together"""
    seed: int = 0
    """random seed for --sample"""
    device: str = "auto"
    """device: auto, cpu, cuda, cuda:1 or mps"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """dtype of the decoder's products; bfloat16 is faster where the device has instructions for it,
    and some captions differ"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding options. The default of each is that of the first run."""


def main(options: Options) -> int:
    from prepro.runtime.distributed import init_distributed, shutdown_distributed

    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    if options.out.is_dir():
        raise ValueError(f"--out {options.out}: this is a folder; give a file")
    context = init_distributed(options.device)
    try:
        return _generate(options, context)
    finally:
        shutdown_distributed()


def _generate(options: Options, context: "DistributedContext") -> int:
    from caption.inference.coco_submission import name
    from caption.inference.partial_results import PartialResults
    from caption.inference.shared_work import caption_share, joining
    from eval.caption_statistics import caption_warnings
    from eval.files import write_json
    from eval.results_provenance import write_about
    from prepro.runtime.distributed import all_gather

    job = Job.of(options, context.device)
    out = name(options.out, job.source.paths, options.coco) if options.coco else options.out
    parts = PartialResults(out, [job.settings(), options.batch_size], context.rank)
    with parts.lock():
        all_gather(context, None)  # every process has its file; from now on none waits for another
        caption_share(job, parts, context)
        with joining(parts, context, job.batches) as is_ours:
            if not is_ours:
                return 0
            rows = parts.join(job.batches)
            results = [row for row in rows if "bad" not in row]
            digests = [row.pop("digest", None) for row in results]
            write_json(out, results)
            write_about(out, job.captions, *job.provenance(digests))
    bad = len(rows) - len(results)
    for warning in caption_warnings([row["caption"] for row in results]):
        print(f"warning: {warning}", file=sys.stderr)
    print(
        f"{out}: {len(results):,} captions"
        + (f", {bad:,} pictures could not be read" if bad else "")
    )
    return 1 if bad else 0


@dataclass(frozen=True)
class Job:
    """Everything that the captions depend on."""

    options: Options
    source: "ImageSource"
    decoding: "DecodeOptions"
    frequencies: "Frequencies | None"
    """document frequencies of the training captions, for --consensus"""
    captions: str | None
    """the hash of the data folder's captions and splits; None for a folder of pictures"""
    features: dict[str, str] | None
    """the identity of the stored features; None if pictures are encoded"""
    device: "torch.device"

    @classmethod
    def of(cls, options: Options, device: "torch.device") -> "Job":
        """ValueError or FileNotFoundError for runs and pictures that are missing."""
        from caption.data.data_folder import DataFolder
        from caption.decoding.consensus import of_training
        from caption.inference.caption_ensemble import CaptionEnsemble
        from caption.inference.image_source import ImageSource
        from prepro.runtime.precision import check_precision
        from prepro.storage.feature_identity import features_identity

        check_precision(options.precision, device)
        ensemble = CaptionEnsemble.load(options.run, device)
        decoding, data = apply_flags(options.decode, ensemble.decoding), None
        if options.data or not options.images:  # a folder of pictures needs none
            data = DataFolder.of_run(ensemble.members[0].run, options.data)
        if options.images:
            source = ImageSource.of_folder(ensemble, options.images)
        else:
            source = ImageSource.of_split(ensemble, data, options.split)
        known = of_training(data.labels) if decoding.consensus and data else None
        captions = None if options.images else data.labels.captions_sha256
        is_stored = data is not None and None not in source.stores
        features = features_identity(data.features) if is_stored else None
        return cls(options, source, decoding, known, captions, features, device)

    @property
    def batches(self) -> int:
        return -(-len(self.source.ids) // self.batch_size)

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def settings(self) -> list:
        """The models, the pictures and the options as JSON values."""
        models = [
            (path.resolve(), path.stat().st_mtime_ns)
            for path in map(model_file, self.options.run or [None])
        ]
        given = self.options
        options = [given.data, given.seed, given.coco, given.precision, asdict(self.decoding)]
        source = [
            self.source.paths,
            self.source.ids,
            self.source.stamps(),
            self.captions,
            self.features,
        ]
        return [models, *source, options]

    def provenance(self, digests: list[int | None]) -> tuple[list[str], dict]:
        """The hash of each model's file, and what a reader wants to know besides.

        digests: the hashes of the pictures; None for one that was not encoded.
        """
        import numpy as np

        from eval.results_provenance import file_sha256
        from prepro.storage.feature_file import hash_of_pictures

        models = list(map(model_file, self.options.run or [None]))
        is_encoded = bool(digests) and None not in digests
        split = "" if self.options.images else self.options.split
        return [file_sha256(path) for path in models], {
            "runs": [model_name(path) for path in models], "split": split,
            "decoding": asdict(self.decoding), "seed": self.options.seed,
            "precision": self.options.precision, "features": self.features,
            "pictures": hash_of_pictures(np.array(digests)[:, None]) if is_encoded else None,
        }  # fmt: skip

    def rows(self, loaded: "LoadedBatch") -> list[dict]:
        """The result rows of one batch. Names unreadable pictures on stderr and in rows {"bad"}."""
        from prepro.runtime.precision import autocast_to

        rows = [{"bad": str(self.source.paths[index])} for index in loaded.bad]
        for row, reason in zip(rows, loaded.bad.values(), strict=True):
            print(f"caption.generate: {printable(row['bad'])}: {reason}", file=sys.stderr)
        if loaded.indices:
            features = self.source.features(loaded)
            with autocast_to(self.options.precision, self.device):
                found = self.source.ensemble.decode(
                    features, self.decoding, seed=self.options.seed,
                    ids=[self.source.ids[index] for index in loaded.indices],
                    frequencies=self.frequencies,
                )  # fmt: skip
            digests = [loaded.digests.get(index) for index in loaded.indices]
            rows += map(self._row, loaded.indices, found, digests)
        return rows

    def _row(self, index: int, captions: list["Caption"], digest: int | None) -> dict:
        """The row of one picture: its best caption, all captions if there are several, and the
        hash of its bytes if it was encoded."""
        from caption.inference.coco_submission import number

        every = [caption.to_dict() for caption in captions]
        coco = bool(self.options.coco)
        image = number(self.source.paths[index]) if coco else self.source.ids[index]
        row = {"image_id": image, "caption": every[0]["caption"]}
        if digest is not None:
            row["digest"] = digest
        return row if len(every) == 1 or coco else row | {"captions": every}


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
