"""Annotation files in, `labels.json` and `labels.h5` out.

    python -m prepro.labels --annotations captions.json --images pictures --out data/mine

The vocabulary is counted on the training split only. (neuraltalk2 and its heirs counted the test
split too, so their vocabularies are a little larger.)
"""

import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval import command
from prepro.annotations.formats import format_names


@dataclass(frozen=True)
class Options:
    """Captions and pictures in; the vocabulary and the encoded captions of a data folder out.

    Example: python -m prepro.labels --annotations captions.json --images pictures --out data/mine
    """

    annotations: tuple[Path, ...]
    """COCO or Karpathy JSON, a Flickr token file, captions.csv or .jsonl, or cocotalk.json"""
    images: Path
    """the folder that the picture names in the annotations are relative to"""
    out: Path
    """the data folder to write labels.json and labels.h5 to"""
    split: tuple[Path, ...] = ()
    """lists of pictures a split: Flickr_8k.trainImages.txt ..., or JSON {"train": [...], ...}"""
    format: Literal[format_names()] = "auto"
    """format of the annotations; auto recognises it by the content of each file"""
    min_count: int = 5
    """a word must occur more often than this in the training captions to get its own index"""
    max_length: int = 16
    """longer captions are cut after this many words"""


def main(options: Options) -> None:
    import gc

    gc.disable()  # millions of strings and no cycles: looking for them takes a third of the time
    try:
        _make(options)
    finally:
        gc.enable()


def _make(options: Options) -> None:
    import numpy as np

    from prepro.annotations import reader, validation
    from prepro.storage import label_file
    from prepro.vocabulary import tokenize_captions, vocabulary_from_counts

    if options.max_length < 1 or options.min_count < 0:
        raise ValueError("--max-length must be at least 1 and --min-count at least 0")
    if not options.images.is_dir():
        raise FileNotFoundError(f"{options.images}: no such folder of pictures (--images)")
    records, report = reader.read(options.annotations, options.format, options.split)
    if not report.errors:
        validation.warn_missing_images(records, options.images, report)
    if str(report):
        names = ", ".join(map(str, options.annotations))
        print(f"prepro.labels: what is wrong with {names}\n{report}", file=sys.stderr)
    if report.errors:
        raise ValueError("nothing is written because of the errors above")
    tokens = tokenize_captions([caption for record in records for caption in record.captions])
    is_train = np.array([r.split == "train" for r in records for _ in r.captions])
    counts = tokens.counts(is_train)
    vocabulary = vocabulary_from_counts(counts, options.min_count)
    facts = {
        "dataset": options.out.name,
        "image_root": _root(options.images, options.out),
        "min_count": options.min_count,
    }
    flat, lengths = tokens.encode(vocabulary)
    label_file.write_label_arrays(
        options.out, records, vocabulary, flat, lengths, options.max_length, facts
    )
    _report(options, records, vocabulary, counts, tokens.lengths)


def _root(images: Path, out: Path) -> str:
    """The picture folder as seen from the data folder, so that both can move together."""
    inside = images.resolve().is_relative_to(out.resolve())
    return os.path.relpath(images.resolve(), out.resolve()) if inside else str(images.resolve())


def _report(options, records, vocabulary, counts: Counter, lengths) -> None:
    splits = Counter(record.split for record in records)
    total = sum(counts.values())
    rare = total - sum(counts[word] for word in vocabulary.words)
    cut = int((lengths > options.max_length).sum())
    print(
        f"{options.out}: {len(records):,} pictures ("
        + ", ".join(f"{count:,} {split}" for split, count in splits.items())
        + f"), {len(lengths):,} captions, {len(vocabulary):,} words; "
        f"{rare / max(total, 1):.2%} of the training words are rare (UNK), "
        f"{cut / max(len(lengths), 1):.1%} of the captions are cut at {options.max_length} words"
    )


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
