"""Convert annotation files to a data folder's labels.json and labels.h5.

    python -m prepro.labels --annotations captions.json --images pictures --out data/mine

The vocabulary is counted on the training split only, which includes restval (the extra training
pictures that Karpathy's split takes from COCO val). neuraltalk2 and its successors count the test
split too, so their vocabularies are a little larger. Rare words become one token, UNK (unknown).
Annotations that are numbers already (cocotalk.json with cocotalk_label.h5, WORDMAP_x.json of
sgrvinod's tutorial) keep their words, the words' numbers, UNK and the length of their captions.
"""

import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from eval import command
from prepro.annotations.formats import format_names

BY_ROW = 1_000_000  # captions above which labels.h5 holds the records, to be read by row
MANY_RARE = 0.1  # share of rare training words above which the report suggests --min-count


@dataclass(frozen=True)
class Options:
    """Make a data folder from captions and pictures: the vocabulary and the encoded captions.

    Example: python -m prepro.labels --annotations captions.json --images pictures --out data/mine
    """

    annotations: tuple[Path, ...]
    """annotation files: COCO or Karpathy JSON, a Flickr token file, captions.csv or .jsonl,
    cocotalk.json, WORDMAP_x.json of sgrvinod's tutorial, whose pictures are written to --images,
    'shards/{00000..00999}.tar' of WebDataset or img2dataset, or a TSV of captions and files;
    Karpathy's restval (training pictures taken from COCO val) joins train; an address
    (s3://bucket/shards/{00000..00999}.tar) is read through fsspec, the extra `remote`"""
    images: Path
    """folder that the picture names in the annotations are relative to, or its address"""
    out: Path
    """data folder to write labels.json and labels.h5 to"""
    split: tuple[Path, ...] = ()
    """lists of the pictures of each split: Flickr_8k.trainImages.txt ..., or a JSON file
    {"train": [...], ...}"""
    format: Literal[format_names()] = "auto"
    """format of the annotations; auto recognises it by the content of each file"""
    min_count: int = 5
    """a word that occurs more often than this in the training captions gets its own index; the
    others become UNK, the token for rare words"""
    max_length: int = 16
    """captions are cut after this many words"""


def main(options: Options) -> None:
    import gc

    gc.disable()  # millions of strings without cycles: collection takes a third of the time
    try:
        _make(options)
    finally:
        gc.enable()


def _make(options: Options) -> None:
    from prepro.annotations import streamed
    from prepro.remote import RemotePath, copied, typed

    if not 1 <= options.max_length <= 1000 or not 0 <= options.min_count <= 10**9:
        raise ValueError("--max-length takes 1 to 1,000, --min-count 0 to 1,000,000,000")
    options = replace(options, images=typed(options.images))
    if not isinstance(options.images, RemotePath) and not options.images.is_dir():
        raise FileNotFoundError(f"{options.images}: no such folder of pictures (--images)")
    files = streamed.expanded(options.annotations)
    options = replace(options, annotations=tuple(files))
    if options.format == "auto" and streamed.is_streamed(files):
        _make_streamed(options)
        return
    with copied(files) as paths:
        _make_whole(replace(options, annotations=tuple(paths)))


def _make_whole(options: Options) -> None:
    """Of formats that are read whole."""
    import numpy as np

    from prepro.annotations import formats, reader, validation
    from prepro.vocabulary import Vocabulary, tokenize_captions, tokens_of, vocabulary_from_counts

    records, report = reader.read(options.annotations, options.format, options.split)
    stored = reader.read_vocabulary(records, options.annotations, options.format)
    if not report.errors:
        for path in options.annotations if stored else ():
            formats.unpack_pictures(path, options.format, options.images)
        validation.warn_missing_images(records, options.images, report)
    if str(report):
        names = ", ".join(map(str, options.annotations))
        print(f"prepro.labels: defects of {names}\n{report}", file=sys.stderr)
    if report.errors:
        raise ValueError("nothing is written because of the errors above")
    if stored:
        tokens = tokens_of([words for record in records for words in record.tokens])
    else:
        tokens = tokenize_captions([caption for record in records for caption in record.captions])
    is_train = np.array([r.split == "train" for r in records for _ in r.captions])
    counts = tokens.counts(is_train)
    if stored:
        vocabulary, max_length = Vocabulary(stored.words), stored.max_length
    else:
        vocabulary = vocabulary_from_counts(counts, options.min_count)
        max_length = options.max_length
    _write(options, records, vocabulary, *tokens.encode(vocabulary), max_length)
    splits = Counter(record.split for record in records)
    cut = int((tokens.lengths > max_length).sum())
    from_file = options.annotations[0].name if stored else ""
    _report(options, splits, vocabulary, counts, len(tokens.lengths), cut, max_length, from_file)


def _write(options: Options, records, vocabulary, flat, lengths, max_length: int) -> None:
    """Of concatenated captions: `flat` (T,) token ids, `lengths` (M,) of captions."""
    from prepro.storage.label_file import write_label_arrays
    from prepro.storage.label_row_writer import encoded_rows, write_label_rows

    out, facts = options.out, _facts(options)
    if len(lengths) > BY_ROW:
        rows = encoded_rows(records, flat, lengths)
        write_label_rows(out, rows, vocabulary, max_length, facts)
    else:
        write_label_arrays(out, records, vocabulary, flat, lengths, max_length, facts)


def _make_streamed(options: Options) -> None:
    """Of shards and TSV files: memory does not grow with the number of captions."""
    from prepro.annotations import streamed
    from prepro.annotations.defects import Defects
    from prepro.storage.label_row_writer import write_label_rows
    from prepro.storage.label_spool import LabelSpool
    from prepro.vocabulary import vocabulary_from_counts

    if options.split:
        raise ValueError(
            "--split: not for .tar and .tsv; name each file by its split, such as train-00000.tar"
        )
    defects = Defects()
    try:
        spool = LabelSpool(options.out, streamed.read(options.annotations, options.images, defects))
    finally:
        if text := str(defects.report()):
            print(f"prepro.labels: defects\n{text}", file=sys.stderr)
    counts = spool.counts()
    vocabulary = vocabulary_from_counts(counts, options.min_count)
    cut, length = spool.longer_than(options.max_length), options.max_length
    write_label_rows(options.out, spool.rows(vocabulary), vocabulary, length, _facts(options))
    _report(options, spool.splits, vocabulary, counts, spool.captions, cut, length)


def _facts(options: Options) -> dict[str, object]:
    return {
        "dataset": options.out.name,
        "image_root": _root(options.images, options.out),
        "min_count": options.min_count,
    }


def _root(images: Path, out: Path) -> str:
    """The image folder, relative where it lies in the data folder, so that both can move.

    An address stays as it is.
    """
    inside = images.resolve().is_relative_to(out.resolve())
    return os.path.relpath(images.resolve(), out.resolve()) if inside else str(images.resolve())


def _report(
    options, splits: Counter, vocabulary, counts: Counter, captions: int, cut: int,
    max_length: int, from_file: str = "",
) -> None:  # fmt: skip
    """Print the size of each split, and the shares of rare words and of cut captions."""
    from prepro.vocabulary import UNK

    total = sum(counts.values())
    known = sum(counts[word] for word in vocabulary.words if word != UNK)
    rare = (total - known) / max(total, 1)
    hint = f"; lower --min-count (now {options.min_count})" if rare > MANY_RARE else ""
    words = _count(len(vocabulary), "word")
    if from_file:
        hint, words = "", f"the {words} of {from_file}"
    print(
        f"{options.out}: {_count(splits.total(), 'picture')} ("
        + ", ".join(f"{count:,} {split}" for split, count in splits.items())
        + f"), {_count(captions, 'caption')}, {words}; "
        f"{rare:.2%} of the training words are rare (UNK){hint}, "
        f"{cut / max(captions, 1):.1%} of the captions are cut at {_count(max_length, 'word')}"
    )


def _count(number: int, noun: str) -> str:
    """Such as "1 picture", "2,000 pictures"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    sys.exit(command.run(Options, main, addresses=("annotations", "images")))
