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
    from caption.captioner import Captioner
    from caption.data import DataFolder
    from caption.decode import Caption, DecodeOptions
    from caption.parts import Parts
    from caption.source import Source
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
    from caption.chorus import Chorus
    from caption.distributed import gathered
    from caption.parts import Parts
    from caption.source import Source
    from caption.submission import name
    from eval.files import write_json

    chorus = Chorus.load(options.run, place.device)
    decoding = over(options.decode, chorus.decoding)
    data = _data(options, chorus.members[0])
    if options.images:
        source = Source.of_folder(chorus, options.images)
    else:
        source = Source.of_split(chorus, data, options.split)
    out = name(options.out, source.paths, options.coco) if options.coco else options.out
    parts = Parts(out, _what(options, source, decoding), place.rank)
    batches = -(-len(source.ids) // options.batch_size)
    _caption(options, source, decoding, data, parts, range(batches)[place.rank :: place.world])
    gathered(place, None)  # all are done
    if place.rank:
        return 0
    rows = parts.join(batches)
    results = [row for row in rows if "bad" not in row]
    write_json(out, results)
    parts.remove()
    bad = len(rows) - len(results)
    print(f"{out}: {len(results):,} captions" + (f", {bad:,} pictures left out" if bad else ""))
    return 1 if bad else 0


def _data(options: Options, first: "Captioner") -> "DataFolder | None":
    """The data folder, if there is one to read: a folder of pictures needs none."""
    from caption.data import DataFolder

    if options.images and not options.data:
        return None
    return DataFolder.open(options.data or Path(first.run["config"]["data"]))


def _what(options: Options, source: "Source", decoding: "DecodeOptions") -> list:
    """All that the captions depend on."""
    from caption.chorus import files

    models = [(path.resolve(), path.stat().st_mtime_ns) for path in files(options.run)]
    pictures = [source.paths, source.ids, options.coco]
    return [models, pictures, asdict(decoding), options.seed, options.batch_size, options.data]


def _caption(
    options: Options, source: "Source", decoding: "DecodeOptions", data: "DataFolder | None",
    parts: "Parts", numbers: range,
) -> None:  # fmt: skip
    """Write these batches, of which some may be done."""
    from tqdm import tqdm

    from caption.consensus import of_training

    known = of_training(data.labels) if decoding.consensus and data else None
    done = parts.done()
    size, total = options.batch_size, len(source.ids)
    sizes = {number: min(size, total - number * size) for number in numbers}
    first = sum(sizes[number] for number in numbers if number in done)
    with tqdm(
        desc="captions", total=sum(sizes.values()), initial=first, unit="picture", disable=None
    ) as bar:
        for loaded in source.batches(size, [number for number in numbers if number not in done]):
            ids = [source.ids[place] for place in loaded.places]
            found = source.chorus.say(
                source.features(loaded), decoding, ids=ids, seed=options.seed, frequencies=known
            ) if ids else []  # fmt: skip
            rows = _rows(source, loaded.places, found, options.coco)
            rows += [{"bad": str(source.paths[place])} for place in loaded.bad]
            for place, reason in loaded.bad.items():
                print(f"caption.generate: {source.paths[place]}: {reason}", file=sys.stderr)
            parts.write(loaded.number, rows)
            bar.update(sizes[loaded.number])


def _rows(
    source: "Source", places: list[int], found: list[list["Caption"]], coco: str
) -> list[dict]:
    """The best caption of each picture; all of them, with log-probabilities, where several."""
    from caption.submission import number

    rows = []
    for place, captions in zip(places, found, strict=True):
        every = [caption.described(source.chorus.vocabulary) for caption in captions]
        image = number(source.paths[place]) if coco else source.ids[place]
        row = {"image_id": image, "caption": every[0]["caption"]}
        rows.append(row if len(every) == 1 or coco else row | {"captions": every})
    return rows


def check_features(captioner: "Captioner", data: "DataFolder", run: Path) -> None:
    """ValueError unless the stored features are those of the run's own encoder."""
    from caption.source import made_by

    if not made_by(captioner, data.features):
        raise ValueError(
            f"{data.features.path}: not what the encoder of {run} sees; caption.generate looks at "
            "the pictures themselves"
        )


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
