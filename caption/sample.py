"""Caption pictures and print the captions.

    python -m caption.sample image.jpg

In: pictures and the model.safetensors of a run. Out: a line a picture on stdout. Several --run form
an ensemble: each encodes the picture with its own encoder, and their probabilities are averaged.

    python -m caption.sample image.jpg --score "a dog runs" --score "a cat"

prints how likely these captions are instead: the log-probability (natural logarithm) of each, its
parts word by word, and the words that the vocabulary lacks.

--consensus gives all n-grams the same weight here, since the model file has no document
frequencies; caption.generate uses those of the training captions.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from caption.decoding.flags import DecodeFlags, apply_flags
from caption.inference.image_paths import image_paths
from eval import command
from eval.files import printable

if TYPE_CHECKING:
    from caption.decoding.decode import Caption
    from caption.inference.caption_ensemble import CaptionEnsemble
    from caption.inference.sample_pictures import FilePictures, StoredPictures


@dataclass(frozen=True)
class Options:
    """Caption pictures and print the captions, one a line.

    Example: python -m caption.sample image.jpg
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """files, folders, quoted patterns, or - to read file names from stdin"""
    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """a run's folder, a model.safetensors, or flickr8k, the model that comes with the package
    (default: runs/latest; without one, flickr8k); several form an ensemble"""
    score: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """a caption: print how likely it is, word by word, instead of captioning; may be repeated"""
    data: Path | None = None
    """a data folder: caption pictures of it, named by file or id, from the features stored there,
    as a run on features of another system needs it"""
    attention: Path | None = None
    """folder for pictures that show the attention of the decoder, word by word"""
    json: bool = False
    """print one JSON object a line, with log-probabilities"""
    seed: int = 0
    """random seed for --sample"""
    batch_size: int = 16
    """pictures that are captioned together"""
    device: str = "auto"
    """device: auto, cpu, cuda, cuda:1 or mps"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding options. The default of each is that of the first run."""


def main(options: Options) -> int:
    files = list(image_paths(options.images))
    if not files:
        raise ValueError(
            "give a picture: python -m caption.sample photo.jpg (before --must and --never)"
        )
    if options.data is None and not any(map(os.path.exists, files)):
        raise FileNotFoundError(f"{printable(files[0])}: no such picture")
    if options.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    if options.attention and options.attention.is_file():
        raise ValueError(f"--attention {options.attention}: this is a file; give a folder")
    if options.attention and len(options.run) > 1:
        raise ValueError("--attention shows the attention of one run; give one --run")
    if options.attention and options.score:
        raise ValueError("--attention draws captions that are decoded; leave out --score")
    from caption.data.data_folder import DataFolder
    from caption.inference.caption_ensemble import CaptionEnsemble
    from caption.inference.sample_pictures import FilePictures, StoredPictures
    from prepro.runtime.device import choose_device

    ensemble = CaptionEnsemble.load(options.run, choose_device(options.device))
    for member in ensemble.members:
        print(f"model: {member.description}", file=sys.stderr)
    decoding = apply_flags(options.decode, ensemble.decoding)
    if options.attention and not ensemble.members[0].decoder.needs_regions:
        raise ValueError("--attention: the decoder of this run has no attention over regions")
    source: FilePictures | StoredPictures = FilePictures(ensemble)
    if options.data:
        source = StoredPictures(ensemble, DataFolder.open(options.data))
    bad, stems = 0, _stems(files)
    for first in range(0, len(files), options.batch_size):
        some = files[first : first + options.batch_size]
        opened = list(_opened(source, some))
        bad += len(some) - len(opened)
        if opened:
            names, pictures = zip(*opened, strict=True)
            features = source.encode(pictures)
            if options.score:
                _score(ensemble, names, features, options, len(files) > 1)
                continue
            found = ensemble.decode(
                features, decoding, ids=names, seed=options.seed,
                need_attention=options.attention is not None,
            )  # fmt: skip
            for name, seen, captions in zip(names, pictures, found, strict=True):
                _print(name, captions, options.json, len(files) > 1)
                if options.attention:
                    _overlay(options.attention / stems[name], seen, captions[0], source)
    return 1 if bad else 0


def _opened(
    source: "FilePictures | StoredPictures", files: Sequence[str]
) -> Iterator[tuple[str, object]]:
    """Yields the pictures that can be read; names the others on stderr."""
    from prepro.images import BadImage

    for name in files:
        try:
            yield name, source.open(name)
        except BadImage as error:
            print(f"caption.sample: {printable(name)}: {error}", file=sys.stderr)


def _score(
    ensemble: "CaptionEnsemble", names: Sequence[str], features: object, options: Options,
    many: bool,
) -> None:  # fmt: skip
    """Print how likely each caption of --score is for each picture."""
    from caption.inference.caption_likelihood import likelihoods

    found = likelihoods(ensemble.model, features, options.score, ensemble.vocabulary)
    for name, scores in zip(names, found, strict=True):
        if options.json:
            print(json.dumps({"file": name, "scores": [one.to_dict() for one in scores]}))
            continue
        for one in scores:
            head = f"{printable(name)}\t" if many else ""
            print(f"{head}{one.log_prob:.4f}\t{printable(one.text)}")
            parts = zip([*one.words, "(end)"], one.log_probs, strict=True)
            print("  " + "  ".join(f"{printable(word)} {value:.4f}" for word, value in parts))
            if one.unknown:
                words = ", ".join(map(printable, one.unknown))
                fate = "scored as UNK" if ensemble.vocabulary.unk else "left out"
                print(f"  unknown words, {one.unknown_share:.0%}, {fate}: {words}")


def _stems(files: Sequence[str]) -> dict[str, str]:
    """The file name of each picture's overlay: the first of its stem, its whole path and the end of
    its path with a number that no other picture has."""
    names = list(dict.fromkeys(files))
    paths = ["_".join(Path(name).with_suffix("").parts).lstrip("/._") for name in names]
    wishes = [{Path(name).stem, path} for name, path in zip(names, paths, strict=True)]
    count = Counter(wish for wish_set in wishes for wish in wish_set)

    def fits(wish: str) -> bool:
        return count[wish] == 1 and len(os.fsencode(wish)) <= 200  # a name has at most 255 bytes

    return {
        name: next((wish for wish in (Path(name).stem, path) if fits(wish)), f"{path[-40:]}_{i}")
        for i, (name, path) in enumerate(zip(names, paths, strict=True), 1)
    }


def _overlay(
    path: Path, opened: Any, caption: "Caption", source: "FilePictures | StoredPictures"
) -> None:
    """Draw the attention on boxes where they are stored, else on the grid of the encoder."""
    from caption.reporting.attention_overlay import EVEN_GRID, encoder_view, write_overlay
    from caption.reporting.box_attention import box_view
    from prepro.transform import Transform

    picture, boxes = source.picture(opened), source.boxes(opened)
    about, attention = source.ensemble.members[0].encoder_info, caption.attention
    if boxes is not None:
        view, attention = box_view(boxes), attention[:, : len(boxes)]  # the others are padding
    elif about.get("transform"):
        transform = Transform.from_dict(about["transform"])
        view = encoder_view(about["encoder"], transform, *picture.size)
    else:
        view = EVEN_GRID
    write_overlay(picture, caption.words, attention, path.parent, path.name, view)


def _print(name: str, captions: list["Caption"], as_json: bool, many: bool) -> None:
    """Print the caption, after the file name if there are several files; or JSON."""
    if as_json:
        found = [caption.to_dict() for caption in captions]
        print(json.dumps({"file": name, "captions": found}), flush=True)
        return
    for caption in captions:
        print(f"{printable(name)}\t{caption.text}" if many else caption.text, flush=True)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
