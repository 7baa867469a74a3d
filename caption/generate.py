"""A run and a split or a folder of pictures in, COCO's results.json out.

    python -m caption.generate --run runs/default --split test --out results.json
    torchrun --nproc-per-node 8 -m -- caption.generate --run runs/default --images pictures

Stopped in whatever way, the same command goes on where it was; results.json appears whole. Of
several processes each captions its share of the batches, and the first joins them: the result is
that of one process. Several --run are an ensemble.
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from caption.decoding.flags import DecodeFlags, over
from eval import command

if TYPE_CHECKING:
    import torch

    from caption.decoding.decode import Caption, DecodeOptions
    from caption.inference.image_source import Loaded, Source
    from eval.metrics.document_frequencies import Frequencies
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class Options:
    """Caption every picture of a split or of a folder, in COCO's results format.

    Example: python -m caption.generate --run runs/default --split test --out results.json
    """

    out: Path = Path("results.json")
    """the file to write: [{"image_id", "caption"}], and all of them under "captions" with --n"""
    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run's folder or a model.safetensors, runs/latest if not given; several are an ensemble"""
    images: Path | None = None
    """a folder of pictures, in place of a split"""
    data: Path | None = None
    """the data folder; the run's own if not given"""
    split: Literal["train", "val", "test"] = "test"
    """which pictures of the data folder"""
    coco: str = ""
    """an algorithm's name: the file beside --out is captions_SET_NAME_results.json, as COCO's test
    server takes it, with the numbers in the pictures' names as ids"""
    batch_size: int = 50
    """pictures at a time"""
    seed: int = 0
    """of --sample"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding. What is left out, the first run's own defaults give."""


def main(options: Options) -> int:
    from prepro.runtime.distributed import init_distributed, shutdown_distributed

    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    context = init_distributed(options.device)
    try:
        return _generate(options, context)
    finally:
        shutdown_distributed()


def _generate(options: Options, context: "DistributedContext") -> int:
    from tqdm import tqdm

    from caption.inference.coco_submission import name
    from caption.inference.partial_results import PartialResults
    from eval.files import write_json
    from prepro.runtime.distributed import all_gather

    job = Job.of(options, context.device)
    source, size = job.source, options.batch_size
    out = name(options.out, source.paths, options.coco) if options.coco else options.out
    parts = PartialResults(out, [job.what(), size], context.rank)
    batches = range(-(-len(source.ids) // size))
    mine, done = batches[context.rank :: context.world], parts.done()
    left = [number for number in mine if number not in done]
    pictures = [min(size, len(source.ids) - number * size) for number in mine]
    with tqdm(
        desc="captions", total=sum(pictures), unit="picture", disable=context.rank > 0 or None,
        initial=sum(n for n, number in zip(pictures, mine, strict=True) if number in done),
    ) as bar:  # fmt: skip
        for loaded in source.batches(size, left):
            parts.write(loaded.number, job.rows(loaded))
            bar.update(len(loaded.indices) + len(loaded.bad))
    all_gather(context, None)  # wait until all are done
    if context.rank:
        return 0
    rows = parts.join(len(batches))
    results = [row for row in rows if "bad" not in row]
    write_json(out, results)
    parts.remove()
    bad = len(rows) - len(results)
    print(f"{out}: {len(results):,} captions" + (f", {bad:,} pictures left out" if bad else ""))
    return 1 if bad else 0


@dataclass(frozen=True)
class Job:
    """All that a caption depends on."""

    options: Options
    source: "Source"
    decoding: "DecodeOptions"
    frequencies: "Frequencies | None"
    """of the training captions, for --consensus"""

    @classmethod
    def of(cls, options: Options, device: "torch.device") -> "Job":
        """ValueError or FileNotFoundError for runs and pictures that are not there."""
        from caption.data.data_folder import DataFolder
        from caption.decoding.consensus import of_training
        from caption.inference.ensemble import CaptionEnsemble
        from caption.inference.image_source import Source

        ensemble = CaptionEnsemble.load(options.run, device)
        decoding, data = over(options.decode, ensemble.decoding), None
        if options.data or not options.images:  # a folder of pictures needs none
            own = ensemble.members[0].run["config"]["data"]
            data = DataFolder.open(options.data or Path(own))
        if options.images:
            source = Source.of_folder(ensemble, options.images)
        else:
            source = Source.of_split(ensemble, data, options.split)
        known = of_training(data.labels) if decoding.consensus and data else None
        return cls(options, source, decoding, known)

    def what(self) -> list:
        """In JSON values: the models, the pictures, the options."""
        from caption.inference.ensemble import files

        models = [(path.resolve(), path.stat().st_mtime_ns) for path in files(self.options.run)]
        options = [self.options.data, self.options.seed, self.options.coco, asdict(self.decoding)]
        return [models, self.source.paths, self.source.ids, options]

    def rows(self, loaded: "Loaded") -> list[dict]:
        """Of one batch; a picture that cannot be read is named on stderr, and so is its row."""
        rows = [{"bad": str(self.source.paths[index])} for index in loaded.bad]
        for row, reason in zip(rows, loaded.bad.values(), strict=True):
            print(f"caption.generate: {row['bad']}: {reason}", file=sys.stderr)
        if loaded.indices:
            found = self.source.ensemble.say(
                self.source.features(loaded), self.decoding, seed=self.options.seed,
                ids=[self.source.ids[index] for index in loaded.indices],
                frequencies=self.frequencies,
            )  # fmt: skip
            rows += map(self._row, loaded.indices, found)
        return rows

    def _row(self, index: int, captions: list["Caption"]) -> dict:
        """The best caption; all of them, with log-probabilities, where there are several."""
        from caption.inference.coco_submission import number

        every = [caption.described(self.source.ensemble.vocabulary) for caption in captions]
        coco = bool(self.options.coco)
        image = number(self.source.paths[index]) if coco else self.source.ids[index]
        row = {"image_id": image, "caption": every[0]["caption"]}
        return row if len(every) == 1 or coco else row | {"captions": every}


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
