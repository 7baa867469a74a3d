"""Score captions against references: BLEU-1..4, ROUGE-L, CIDEr-D and CIDEr, the official numbers.

In: references and results, by image id. Out: a table on stdout, JSON files where asked.

    python -m eval.score --references captions_val2014.json --results results.json

In a notebook:

    from eval.score import score
    score({1: ["A dog runs.", "a dog"]}, {1: "a dog runs"}).corpus
"""

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval import command
from eval import frequencies as document_frequencies
from eval.bleu import bleu
from eval.cider import cider, cider_d
from eval.files import write_json
from eval.frequencies import Frequencies
from eval.pairs import Pairs, Scores, pair
from eval.references import captions_of, disagreement, read_references, read_results
from eval.rouge import rouge_l

VERSION = "1"  # of the scores: raised when any number changes
FEW = 100  # images below which document frequencies say little


@dataclass(frozen=True)
class Result:
    """Scores on the scale of the official tool, and where they come from."""

    corpus: dict[str, float]  # by metric: Bleu_1 .. Bleu_4, ROUGE_L, CIDEr-D, CIDEr
    per_image: dict[Hashable, dict[str, float]]  # by image id, by metric
    provenance: dict[str, object]
    warnings: tuple[str, ...]


def score(
    references: Mapping[Hashable, Sequence[str]],
    candidates: Mapping[Hashable, str | Sequence[str]],
    *,
    subset: bool = False,
    coco_exact: bool = False,
    frequencies: Frequencies | None = None,
) -> Result:
    """Score raw captions by image id; either side may be a `pycocotools.coco.COCO`.

    Every image must stand on both sides, or ValueError says which do not; with `subset` those on
    both are scored. `coco_exact` tokenises as the official tool does where that depends on the
    order of the captions (see `eval.tokenizer`). CIDEr's document frequencies come from
    `references`, as the official tool's do, unless `frequencies` gives others.
    """
    references, candidates = captions_of(references), captions_of(candidates)
    trouble = disagreement(references, candidates, ())
    if trouble and not subset:
        raise ValueError("; ".join(trouble))
    shared = {image: candidates[image] for image in references if image in candidates}
    if not shared:
        raise ValueError("no image has both a caption and references")
    pairs = pair(references, shared, coco_exact)
    scores = measure(pairs, frequencies)
    columns = {name: values.per_image.tolist() for name, values in scores.items()}
    rows = zip(*columns.values(), strict=True)
    return Result(
        {name: values.corpus for name, values in scores.items()},
        {i: dict(zip(columns, row, strict=True)) for i, row in zip(pairs.ids, rows, strict=True)},
        provenance(pairs, coco_exact, frequencies),
        tuple(trouble) + tuple(doubts(pairs, frequencies)),
    )


def measure(pairs: Pairs, frequencies: Frequencies | None = None) -> dict[str, Scores]:
    """Every metric by its name in coco-caption; a new metric is one more entry."""
    scores = {f"Bleu_{order}": values for order, values in bleu(pairs).items()}
    scores["ROUGE_L"] = rouge_l(pairs)
    scores["CIDEr-D"] = cider_d(pairs, frequencies)
    scores["CIDEr"] = cider(pairs, frequencies)
    return scores


def provenance(pairs: Pairs, coco_exact: bool, frequencies: Frequencies | None) -> dict:
    """What a reader must know to compare these scores with others."""
    of = f"{frequencies.images} images, from a file" if frequencies else "these references"
    return {
        "images": len(pairs.ids),
        "references": pairs.n_references,
        "tokenizer": "PTB as in coco-caption" + (", file order" if coco_exact else ""),
        "document_frequencies": of,
        "version": VERSION,
    }


def doubts(pairs: Pairs, frequencies: Frequencies | None) -> list[str]:
    """Reasons why the scores may mean less than they seem to."""
    images = frequencies.images if frequencies else len(pairs.ids)
    if images == 1:
        return ["CIDEr is 0 for every caption: one image gives every n-gram the weight 0; see --df"]
    if images < FEW:
        return [f"CIDEr says little: its document frequencies come from {images} images; see --df"]
    return []


@dataclass(frozen=True)
class Options:
    """Score captions against references.

    Example: python -m eval.score --references captions_val2014.json --results results.json
    """

    references: Path
    """COCO captions JSON, Karpathy's JSON, a Flickr token file (.txt) or our labels.json"""
    results: Path
    """captions in COCO's results format: [{"image_id": .., "caption": ".."}]"""
    split: str | None = None
    """the split of Karpathy's JSON or labels.json; for a token file, a file that lists images"""
    subset: bool = False
    """score the images on both sides, instead of refusing when ids are missing"""
    coco_exact: bool = False
    """tokenise in file order, accidents included, as the official tool does"""
    df: Path | None = None
    """document frequencies for CIDEr, written by --save-df"""
    save_df: Path | None = None
    """write the document frequencies of the references to this file (.npz)"""
    per_image: Path | None = None
    """write the scores of every image to this JSON file"""
    json: Path | None = None
    """write scores and provenance to this JSON file"""


def main(options: Options) -> None:
    """Read, score, print, write."""
    references = read_references(options.references, options.split)
    results = read_results(options.results)
    trouble = disagreement((), (), results.duplicates)
    if trouble and not options.subset:
        raise ValueError(f"{options.results}: {trouble[0]}; --subset takes the first of them")
    frequencies = document_frequencies.load(options.df) if options.df else None
    if options.save_df:
        every = references_alone(references, options.coco_exact)
        document_frequencies.save(document_frequencies.count(every), options.save_df)
    result = score(
        references,
        results.captions,
        subset=options.subset,
        coco_exact=options.coco_exact,
        frequencies=frequencies,
    )
    for line in (*trouble, *result.warnings):
        print(f"warning: {line}", file=sys.stderr)
    if options.per_image:
        write_json(options.per_image, {str(i): named(row) for i, row in result.per_image.items()})
    if options.json:
        about = {"split": options.split, **result.provenance}
        write_json(options.json, {"metrics": named(result.corpus), "provenance": about}, indent=1)
    print(table(named(result.corpus)))


def references_alone(references, coco_exact: bool) -> Pairs:
    return pair(references, {image: "" for image in references}, coco_exact)


def named(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores by the names that papers print: BLEU-4 for coco-caption's Bleu_4."""
    return {name.replace("Bleu", "BLEU").replace("_", "-"): x for name, x in scores.items()}


def table(scores: Mapping[str, float]) -> str:
    """Aligned rows of metric and score."""
    return "\n".join(f"{name:<8}{value:8.4f}" for name, value in scores.items())


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
