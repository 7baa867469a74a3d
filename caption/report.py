"""A run and a split in, one HTML page out that shows what the run says and how good it is.

    python -m caption.report --run runs/a --against runs/b --out report.html

The page needs no network and no other file, but the pictures where they are too large to carry.
"""

import base64
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from eval import command


@dataclass(frozen=True)
class Options:
    """Write a page with a run's captions of a split, their scores and the run's curves.

    Example: python -m caption.report --run runs/a --against runs/b --out report.html
    """

    run: Path = Path("runs/latest")
    """a run's folder"""
    against: Path | None = None
    """a second run, to show side by side"""
    out: Path = Path("report.html")
    """the page to write"""
    data: Path | None = None
    """the data folder; each run's own if not given"""
    split: Literal["train", "val", "test"] = "test"
    """which pictures"""
    results: tuple[Path, ...] = ()
    """results of caption.generate for --run, then for --against; decoded anew if not given"""
    pictures: Literal["auto", "inline", "link"] = "auto"
    """inline: thumbnails in the page; link: the files where they are; auto: inline up to 22 MB"""
    bootstrap: int = 1000
    """resamplings for 95 % intervals"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""

    def __post_init__(self) -> None:
        if len(self.results) > (2 if self.against else 1):
            raise ValueError("--results: one file for --run and one for --against, no more")
        if self.bootstrap < 1:
            raise ValueError("--bootstrap takes 1 or more resamplings")


def main(options: Options) -> None:
    from caption.reporting.html import render
    from eval.files import write_text

    page = render(gather(options))
    write_text(options.out, page)
    print(f"{options.out}: {len(page) / 1e6:.1f} MB")


def gather(options: Options) -> dict:
    """All that the page shows, as plain JSON values."""
    from caption.captioner import Captioner
    from caption.data.data_folder import DataFolder
    from caption.reporting.captions import sources, spoken
    from caption.reporting.statistics import about, numbers
    from caption.training.curves import names
    from prepro.runtime.device import choose_device

    told, folders, runs = [], [], [options.run] + [options.against] * (options.against is not None)
    for index, run in enumerate(runs):
        captioner = Captioner.load(run / "model.safetensors", choose_device(options.device))
        data = DataFolder.open(options.data or Path(captioner.run["config"]["data"]))
        results = options.results[index] if index < len(options.results) else None
        told.append(spoken(captioner, data, data.split(options.split), results))
        folders.append((captioner, data, results))
    first = folders[0][1].labels
    records = [first.records[row] for row in folders[0][1].split(options.split)]
    pictures = sources(first.image_root, [r.path for r in records], options.out, options.pictures)
    called = names(runs)
    scores, per_image = numbers(first, records, told, called, options.bootstrap)
    return {
        "split": options.split,
        "data": str(first.folder),
        "runs": [
            about(name, run, *folder)
            for name, run, folder in zip(called, runs, folders, strict=True)
        ],
        "curves": _curves(runs),
        **scores,
        "rows": _rows(records, pictures, told, per_image, [f[0].encoder_info for f in folders]),
    }


def _rows(records, pictures, told, per_image, encoders) -> list[dict]:
    """A row a picture."""
    from eval.caption_files import image_id

    rows = []
    for record, picture in zip(records, pictures, strict=True):
        image = image_id(record.id)
        captions = [
            _caption(some[image], scored.get(image))
            for some, scored in zip(told, per_image, strict=True)
        ]
        row = asdict(picture) | {"id": record.id, "file": record.path, "captions": captions}
        views = [_view(encoder, picture) for encoder in encoders]
        rows.append(row | {"references": list(record.captions), "views": views})
    return rows


def _view(encoder: dict, picture) -> dict:
    """caption.reporting.attention_overlay.View of a picture; even parts, where another system looked at it."""
    from caption.reporting.attention_overlay import EVEN, seen
    from prepro.transform import Transform

    if picture.trouble or not encoder.get("transform"):
        return EVEN._asdict()
    transform = Transform.from_dict(encoder["transform"])
    return seen(encoder["encoder"], transform, picture.width, picture.height)._asdict()


def _caption(spoken, scored: dict | None) -> dict:
    """A caption for the page; `attention` is packed by `_packed`."""
    return {
        "text": spoken.text,
        "words": spoken.words,
        "probabilities": [round(p, 4) for p in spoken.probabilities],
        "attention": None if spoken.attention is None else _packed(spoken.attention.numpy()),
        **(scored or {"cider": None, "faults": []}),
    }


def _packed(attention) -> dict | None:
    """(T, R) as each word's greatest weight and, in base64, bytes that are shares of it / 255."""
    if math.isqrt(attention.shape[1]) ** 2 != attention.shape[1]:
        return None  # the regions are no grid
    greatest = attention.max(1, keepdims=True).clip(1e-12)
    shares = (attention / greatest * 255).round().astype("uint8")
    text = base64.b64encode(shares.tobytes()).decode()
    return {"greatest": [round(float(g), 6) for g in greatest[:, 0]], "bytes": text}


def _curves(runs: list[Path]) -> str | None:
    """The runs' curves as a data URI; None where a run kept none."""
    from caption.training.curves import draw

    if not all((run / "metrics.jsonl").is_file() for run in runs):
        return None
    with tempfile.TemporaryDirectory() as folder:
        draw(runs, Path(folder) / "curves.svg")
        figure = (Path(folder) / "curves.svg").read_bytes()
    return "data:image/svg+xml;base64," + base64.b64encode(figure).decode()


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
