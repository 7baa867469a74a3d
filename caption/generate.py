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

from caption.options import DecodeFlags, over
from eval import command

if TYPE_CHECKING:
    import torch

    from caption.decode import Caption, DecodeOptions
    from caption.source import Loaded, Source
    from eval.frequencies import Frequencies
    from prepro.pretraining.processes import Place


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
    from prepro.pretraining.processes import join, leave

    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    place = join(options.device)
    try:
        return _generate(options, place)
    finally:
        leave()


def _generate(options: Options, place: "Place") -> int:
    from tqdm import tqdm

    from caption.parts import Parts
    from caption.submission import name
    from caption.training.distributed import gathered
    from eval.files import write_json

    job = Job.of(options, place.device)
    source, size = job.source, options.batch_size
    out = name(options.out, source.paths, options.coco) if options.coco else options.out
    parts = Parts(out, [job.what(), size], place.rank)
    batches = range(-(-len(source.ids) // size))
    mine, done = batches[place.rank :: place.world], parts.done()
    left = [number for number in mine if number not in done]
    pictures = [min(size, len(source.ids) - number * size) for number in mine]
    with tqdm(
        desc="captions", total=sum(pictures), unit="picture", disable=place.rank > 0 or None,
        initial=sum(n for n, number in zip(pictures, mine, strict=True) if number in done),
    ) as bar:  # fmt: skip
        for loaded in source.batches(size, left):
            parts.write(loaded.number, job.rows(loaded))
            bar.update(len(loaded.places) + len(loaded.bad))
    gathered(place, None)  # wait until all are done
    if place.rank:
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
        from caption.chorus import Chorus
        from caption.data import DataFolder
        from caption.decoding.consensus import of_training
        from caption.source import Source

        chorus = Chorus.load(options.run, device)
        decoding, data = over(options.decode, chorus.decoding), None
        if options.data or not options.images:  # a folder of pictures needs none
            own = chorus.members[0].run["config"]["data"]
            data = DataFolder.open(options.data or Path(own))
        if options.images:
            source = Source.of_folder(chorus, options.images)
        else:
            source = Source.of_split(chorus, data, options.split)
        known = of_training(data.labels) if decoding.consensus and data else None
        return cls(options, source, decoding, known)

    def what(self) -> list:
        """In JSON values: the models, the pictures, the options."""
        from caption.chorus import files

        models = [(path.resolve(), path.stat().st_mtime_ns) for path in files(self.options.run)]
        options = [self.options.data, self.options.seed, self.options.coco, asdict(self.decoding)]
        return [models, self.source.paths, self.source.ids, options]

    def rows(self, loaded: "Loaded") -> list[dict]:
        """Of one batch; a picture that cannot be read is named on stderr, and so is its row."""
        rows = [{"bad": str(self.source.paths[place])} for place in loaded.bad]
        for row, reason in zip(rows, loaded.bad.values(), strict=True):
            print(f"caption.generate: {row['bad']}: {reason}", file=sys.stderr)
        if loaded.places:
            found = self.source.chorus.say(
                self.source.features(loaded), self.decoding, seed=self.options.seed,
                ids=[self.source.ids[place] for place in loaded.places],
                frequencies=self.frequencies,
            )  # fmt: skip
            rows += map(self._row, loaded.places, found)
        return rows

    def _row(self, place: int, captions: list["Caption"]) -> dict:
        """The best caption; all of them, with log-probabilities, where there are several."""
        from caption.submission import number

        every = [caption.described(self.source.chorus.vocabulary) for caption in captions]
        coco = bool(self.options.coco)
        image = number(self.source.paths[place]) if coco else self.source.ids[place]
        row = {"image_id": image, "caption": every[0]["caption"]}
        return row if len(every) == 1 or coco else row | {"captions": every}


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
