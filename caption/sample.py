"""Pictures in, captions on stdout. Needs a run's model.safetensors and nothing else.

python -m caption.sample image.jpg

Several --run are an ensemble: each sees the picture through its own encoder, and their
probabilities are averaged. --consensus weighs all n-grams alike here, since the model file does not
say how rare they are in the training captions; caption.generate, which has these, counts them.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from caption.decoding.flags import DecodeFlags, over
from caption.inference.image_paths import image_paths
from eval import command

if TYPE_CHECKING:
    from PIL import Image

    from caption.decoding.decode import Caption
    from caption.inference.ensemble import CaptionEnsemble


@dataclass(frozen=True)
class Options:
    """Caption pictures: one line each, the file's name and the caption.

    Example: python -m caption.sample image.jpg
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """files, folders, patterns in quotes, or - for a list of files on stdin"""
    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run's folder or a model.safetensors, runs/latest if not given; several are an ensemble"""
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
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding. What is left out, the first run's own defaults give."""


def main(options: Options) -> int:
    files = list(image_paths(options.images))
    if not files:
        raise ValueError("no pictures to caption; name them before --must and --never")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    if options.attention and options.attention.is_file():
        raise ValueError(f"--attention {options.attention}: a file; name a folder")
    if options.attention and len(options.run) > 1:
        raise ValueError("--attention shows where one run looks; give one --run")
    from caption.inference.ensemble import CaptionEnsemble
    from prepro.runtime.device import choose_device

    ensemble = CaptionEnsemble.load(options.run, choose_device(options.device))
    decoding = over(options.decode, ensemble.decoding)
    if options.attention and not ensemble.members[0].decoder.needs_regions:
        raise ValueError("--attention: this run's decoder looks at no regions")
    bad, stems = 0, _stems(files)
    for first in range(0, len(files), options.batch_size):
        some = files[first : first + options.batch_size]
        opened = list(_opened(ensemble, some))
        bad += len(some) - len(opened)
        if opened:
            names, pictures = zip(*opened, strict=True)
            found = ensemble.captions(
                pictures, decoding, ids=names, seed=options.seed,
                need_attention=options.attention is not None,
            )  # fmt: skip
            for name, seen, captions in zip(names, pictures, found, strict=True):
                _print(name, captions, ensemble, options, len(files) > 1)
                if options.attention:
                    write = options.attention / stems[name]
                    _overlay(write, seen[0], captions[0], ensemble)
    return 1 if bad else 0


def _opened(
    ensemble: "CaptionEnsemble", files: Sequence[str]
) -> Iterator[tuple[str, tuple["Image.Image", ...]]]:
    """The pictures that can be read; the others are named on stderr."""
    from prepro.images import BadImage

    for name in files:
        try:
            yield name, ensemble.open(name)
        except BadImage as error:
            print(f"caption.sample: {name}: {error}", file=sys.stderr)


def _stems(files: Sequence[str]) -> dict[str, str]:
    """What each file's overlay is called: by its stem, or by its whole path where stems repeat."""
    count = Counter(Path(name).stem for name in files)
    whole = {name: "_".join(Path(name).with_suffix("").parts).lstrip("/._") for name in files}
    return {n: Path(n).stem if count[Path(n).stem] == 1 else whole[n] for n in files}


def _overlay(
    path: Path, picture: "Image.Image", caption: "Caption", ensemble: "CaptionEnsemble"
) -> None:
    from caption.reporting.attention_overlay import seen, write_overlay

    words = ensemble.vocabulary.decode(caption.token_ids)
    encoder = ensemble.members[0].encoder
    view = seen(encoder.name, encoder.transform, *picture.size)
    write_overlay(picture, words, caption.attention, path.parent, path.name, view)


def _print(
    name: str, captions: list["Caption"], ensemble: "CaptionEnsemble", options: Options, many: bool
) -> None:
    """Text: the caption, after its file's name where there are several. JSON: all there is."""
    if options.json:
        found = [caption.described(ensemble.vocabulary) for caption in captions]
        print(json.dumps({"file": name, "captions": found}, ensure_ascii=False), flush=True)
        return
    for caption in captions:
        sentence = ensemble.vocabulary.sentence(caption.token_ids)
        print(f"{name}\t{sentence}" if many else sentence, flush=True)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
