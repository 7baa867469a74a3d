"""A run and a split in, COCO's results.json out.

python -m caption.generate --run runs/default --split test --out results.json
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from caption.options import DecodeFlags
from eval import command


@dataclass(frozen=True)
class Options:
    """Caption every picture of a split, from its stored features, in COCO's results format.

    Example: python -m caption.generate --run runs/default --split test --out results.json
    """

    out: Path = Path("results.json")
    """the file to write: [{"image_id", "caption"}]"""
    run: Path = Path("runs/latest")
    """a run's folder"""
    data: Path | None = None
    """the data folder; the run's own if not given"""
    split: Literal["train", "val", "test"] = "test"
    """which pictures"""
    batch_size: int = 50
    """pictures at a time"""
    seed: int = 0
    """of --sample"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=DecodeFlags)


def main(options: Options) -> None:
    from tqdm import tqdm

    from caption.captioner import Captioner
    from caption.data import DataFolder, FeatureStore
    from caption.validate import captions_of
    from eval.files import write_json
    from prepro.device import choose

    device = choose(options.device)
    captioner = Captioner.load(options.run / "model.safetensors", device)
    data = DataFolder.open(options.data or Path(captioner.run["config"]["data"]))
    check_features(captioner, data, options.run)
    store = FeatureStore(data.features, captioner.regions > 0, "disk", device)
    rows = data.split(options.split)
    decoding = options.decode.over(captioner.decoding)
    found = captions_of(
        captioner.decoder, data, store, rows, decoding, options.batch_size, options.seed
    )
    results = []
    for row, captions in tqdm(found, "captions", len(rows), unit="picture", disable=None):
        caption = captioner.vocabulary.sentence(captions[0].words)
        results.append({"image_id": data.labels.records[row].id, "caption": caption})
    write_json(options.out, results)
    of = f"the {options.split} split of {data.labels.folder}"
    print(f"{options.out}: {len(results):,} captions of {of}")


def check_features(captioner, data, run: Path) -> None:
    """The features must come from the run's own encoder."""
    mine, theirs = captioner.encoder.sha256, data.features.provenance.weights_sha256
    if mine != theirs:
        raise ValueError(
            f"{data.features.path}: made by an encoder with weights {theirs[:12]}, but {run} was "
            f"trained on features of {mine[:12]}"
        )


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
