"""Write an HTML page with the captions of a run, their scores and the run's curves.

    python -m caption.report --run runs/a --against runs/b --out report.html

In: a run and a split of a data folder. Out: one page that needs no network and no other file,
except the pictures if there are too many to embed.
"""

import base64
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eval import command


@dataclass(frozen=True)
class Options:
    """Write an HTML page with the captions of a run, their scores and the run's curves.

    Example: python -m caption.report --run runs/a --against runs/b --out report.html
    """

    run: Path = Path("runs/latest")
    """a run's folder, a model.safetensors, or flickr8k, the model that comes with the package"""
    against: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run to compare with; may be given several times"""
    out: Path = Path("report.html")
    """HTML file to write"""
    data: Path | None = None
    """data folder (default: that of each run)"""
    split: Literal["train", "val", "test"] = "test"
    """split of the data folder"""
    results: tuple[Path, ...] = ()
    """results of caption.generate for --run, then for --against (default: caption the split now)"""
    pictures: Literal["auto", "inline", "link"] = "auto"
    """inline: thumbnails inside the page; link: links to the files; auto: inline up to 22 MB"""
    instances: Path | None = None
    """COCO's instances JSON, or the annotations.json of the drawn scenes: what is in the pictures,
    to underline words that name something else (default: what the references name)"""
    bootstrap: int = 1000
    """number of bootstrap resamplings for 95 % intervals"""
    device: str = "auto"
    """device: auto, cpu, cuda, cuda:1 or mps"""

    def __post_init__(self) -> None:
        if len(self.results) > 1 + len(self.against):
            raise ValueError("--results: give one file for --run and one for each --against")
        if not 1 <= self.bootstrap <= 100_000:
            raise ValueError("--bootstrap takes 1 to 100,000 resamplings")


def main(options: Options) -> None:
    from caption.reporting.html import render
    from eval.files import write_text

    page = render(gather(options))
    write_text(options.out, page)
    print(f"{options.out}: {len(page) / 1e6:.1f} MB")


def gather(options: Options) -> dict:
    """The content of the page as plain JSON values."""
    from caption.captioner import Captioner
    from caption.data.data_folder import DataFolder
    from caption.reporting.captions import load_captions
    from caption.reporting.statistics import provenance, statistics
    from caption.reporting.thumbnails import page_images
    from caption.training.curves import names
    from eval.metrics.chair import read_truth
    from prepro.runtime.device import choose_device

    truth = read_truth(options.instances) if options.instances else None
    captions, folders = [], []
    runs = [options.run, *options.against]
    for index, run in enumerate(runs):
        captioner = Captioner.load(run, choose_device(options.device))
        print(f"model: {captioner.description}", file=sys.stderr)
        data = DataFolder.of_run(captioner.run, options.data)
        results = options.results[index] if index < len(options.results) else None
        captions.append(load_captions(captioner, data, data.split(options.split), results))
        folders.append((captioner, data, results))
    first = folders[0][1].labels
    records = [first.records[row] for row in folders[0][1].split(options.split)]
    pictures = page_images(
        first.image_root, [r.path for r in records], options.out, options.pictures
    )
    run_names = names(runs)
    scores, per_image = statistics(first, records, captions, run_names, options.bootstrap, truth)
    return {
        "split": options.split,
        "data": str(first.folder),
        "runs": [
            provenance(name, run, *folder)
            for name, run, folder in zip(run_names, runs, folders, strict=True)
        ],
        "curves": _curves(runs),
        "baselines": _baselines(records),
        **scores,
        "rows": _rows(records, pictures, captions, per_image, [f[0].encoder_info for f in folders]),
    }


def _rows(records, pictures, captions_of_runs, per_image, encoders) -> list[dict]:
    """One row for each picture."""
    from eval.caption_files import image_id

    rows = []
    for record, picture in zip(records, pictures, strict=True):
        image = image_id(record.id)
        captions = [
            _caption(own[image], scored.get(image))
            for own, scored in zip(captions_of_runs, per_image, strict=True)
        ]
        row = asdict(picture) | {"id": record.id, "file": record.path, "captions": captions}
        views = [_view(encoder, picture) for encoder in encoders]
        rows.append(row | {"references": list(record.captions), "views": views})
    return rows


def _baselines(records) -> dict:
    """CIDEr-D of the best constant caption, and of people where all pictures have two captions."""
    from eval.baselines import best_constant, people

    references = {record.id: list(record.captions) for record in records if record.captions}
    text, scores = best_constant(references)
    several = all(len(captions) > 1 for captions in references.values())
    return {
        "constant": [text, scores["CIDEr-D"]],
        "people": people(references)["CIDEr-D"] if several else None,
    }


def _view(encoder: dict, picture) -> dict:
    """attention_overlay.View of a picture; an even grid for features of another system."""
    from caption.reporting.attention_overlay import EVEN_GRID, encoder_view
    from prepro.transform import Transform

    if picture.trouble or not encoder.get("transform"):
        return EVEN_GRID._asdict()
    transform = Transform.from_dict(encoder["transform"])
    return encoder_view(encoder["encoder"], transform, picture.width, picture.height)._asdict()


def _caption(caption, scored: dict | None) -> dict:
    """A caption for the page; `attention` is packed by `_packed`."""
    return {
        "text": caption.text,
        "words": caption.words,
        "probabilities": [round(p, 4) for p in caption.probabilities],
        "attention": None
        if caption.attention is None
        else _packed(caption.attention.numpy(), caption.boxes),
        **(scored or {"cider": None, "faults": [], "hallucinated": []}),
    }


def _packed(attention, boxes) -> dict | None:
    """Attention (T, R) as the maximum of each word and, in base64, bytes relative to it.

    `boxes` (R', 4) of its first R' regions, as 16-bit fractions in base64; or None.
    """
    if boxes is not None:
        attention = attention[:, : len(boxes)]  # the others are padding
    elif math.isqrt(attention.shape[1]) ** 2 != attention.shape[1]:
        return None  # the regions are not a square grid
    greatest = attention.max(1, keepdims=True).clip(1e-12)
    shares = (attention / greatest * 255).round().astype("uint8")
    packed = {"greatest": [round(float(g), 6) for g in greatest[:, 0]], "bytes": _base64(shares)}
    if boxes is not None:
        packed["boxes"] = _base64((boxes * 65535).round().astype("<u2"))
    return packed


def _base64(array) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _curves(runs: list[Path]) -> str | None:
    """The curves of the runs as a data URI; None if a run has no metrics log."""
    from caption.training.curves import draw

    if not all((run / "metrics.jsonl").is_file() for run in runs):
        return None
    with tempfile.TemporaryDirectory() as folder:
        draw(runs, Path(folder) / "curves.svg")
        figure = (Path(folder) / "curves.svg").read_bytes()
    return "data:image/svg+xml;base64," + base64.b64encode(figure).decode()


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
