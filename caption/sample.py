"""Pictures in, captions on stdout. Needs a run's model.safetensors and nothing else.

python -m caption.sample image.jpg
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from caption.options import DecodeFlags
from eval import command

EXTENSIONS = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


@dataclass(frozen=True)
class Options:
    """Caption pictures: one line each, the file's name and the caption.

    Example: python -m caption.sample image.jpg
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """files, folders, or - for a list of files on stdin"""
    run: Path = Path("runs/latest")
    """a run's folder, or a model.safetensors"""
    attention: Path | None = None
    """a folder for pictures of where the decoder looked, word by word"""
    json: bool = False
    """one JSON object a line, with log-probabilities"""
    seed: int = 0
    """of --sample"""
    batch_size: int = 16
    """pictures at a time"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=DecodeFlags)


def main(options: Options) -> int:
    files = list(_files(options.images))
    if not files:
        raise ValueError("no pictures to caption")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    from caption.captioner import Captioner
    from prepro.device import choose
    from prepro.images import BadImage, open_rgb

    model = options.run if options.run.is_file() else options.run / "model.safetensors"
    captioner = Captioner.load(model, choose(options.device))
    decoding = options.decode.over(captioner.decoding)
    bad = 0
    for first in range(0, len(files), options.batch_size):
        names, pictures = [], []
        for name in files[first : first + options.batch_size]:
            try:
                pictures.append(open_rgb(name, captioner.encoder.transform.resize))
                names.append(name)
            except BadImage as error:
                bad += 1
                print(f"caption.sample: {name}: {error}", file=sys.stderr)
        if pictures:
            found = captioner.captions(
                pictures, decoding, ids=names, seed=options.seed,
                need_attention=options.attention is not None,
            )  # fmt: skip
            for name, picture, captions in zip(names, pictures, found, strict=True):
                _print(name, captions, captioner.vocabulary, options, len(files) > 1)
                if options.attention:
                    _overlay(name, picture, captions[0], captioner, options.attention)
    return 1 if bad else 0


def _files(images: tuple[str, ...]) -> Iterator[str]:
    """Every file that the arguments name; a folder stands for the pictures in it, sorted."""
    for name in images:
        if name == "-":
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        elif Path(name).is_dir():
            found = sorted(p for p in Path(name).iterdir() if p.suffix.lower() in EXTENSIONS)
            if not found:
                raise ValueError(f"{name}: no pictures in this folder")
            yield from map(str, found)
        elif not Path(name).exists() and any(sign in name for sign in "*?["):
            found = sorted(map(str, Path().glob(name)))
            if not found:
                raise FileNotFoundError(f"{name}: matches no file")
            yield from found
        elif Path(name).exists():
            yield name
        else:
            raise FileNotFoundError(f"{name}: no such picture")


def _overlay(name: str, picture, caption, captioner, folder: Path) -> None:
    from caption.overlay import write_overlay

    if caption.attention is None:
        raise ValueError("--attention: this run's decoder looks at no regions")
    words = captioner.vocabulary.decode(caption.words)
    transform = captioner.encoder.transform
    write_overlay(picture, words, caption.attention, folder, Path(name).stem, transform)


def _print(name: str, captions: list, vocabulary, options: Options, many: bool) -> None:
    """Text: the caption, after its file's name where there are several. JSON: all there is."""
    if options.json:
        row = {
            "file": name,
            "captions": [
                {
                    "caption": vocabulary.sentence(c.words),
                    "log_prob": c.log_prob,
                    "words": vocabulary.decode(c.words),
                    "log_probs": list(c.log_probs),
                }
                for c in captions
            ],
        }
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    for caption in captions:
        sentence = vocabulary.sentence(caption.words)
        print(f"{name}\t{sentence}" if many else sentence, flush=True)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
