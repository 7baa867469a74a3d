"""Score captions with every metric: BLEU-1..4, ROUGE-L, CIDEr-D and CIDEr, as coco-caption does.

In: references and candidates by image id. Out: a `Result`. The command is `python -m eval.score`.

    from eval.scoring import score
    score({1: ["A dog runs.", "a dog"]}, {1: "a dog runs"}).corpus
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from eval.caption_files import captions_of, disagreement
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider, cider_d
from eval.metrics.document_frequencies import Frequencies
from eval.metrics.ngram_counts import Pairs, Scores, pair
from eval.metrics.rouge import rouge_l

VERSION = "1"  # of the scores: raised when any number changes
FEW_IMAGES = 100  # below this, document frequencies are unreliable


@dataclass(frozen=True)
class Result:
    """Scores on the scale of the official tool, and where they come from."""

    corpus: dict[str, float]  # by metric: Bleu_1 .. Bleu_4, ROUGE_L, CIDEr-D, CIDEr
    per_image: dict[Hashable, dict[str, float]]  # by image id, by metric
    provenance: dict[str, object]
    warnings: tuple[str, ...]
    scores: dict[str, Scores]  # what `eval.significance` takes
    pairs: Pairs  # the tokenised captions


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
    order of the captions (see `eval.tokenizer`). CIDEr's document frequencies come from the
    references of the scored images, as the official tool's do, unless `frequencies` gives others.
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
    about = provenance(pairs, coco_exact, frequencies)
    return result(pairs, scores, about, (*trouble, *score_warnings(pairs, frequencies)))


def measure(pairs: Pairs, frequencies: Frequencies | None = None) -> dict[str, Scores]:
    """Every metric by its name in coco-caption; a new metric is one more entry."""
    scores = {f"Bleu_{order}": values for order, values in bleu(pairs).items()}
    scores["ROUGE_L"] = rouge_l(pairs)
    scores["CIDEr-D"] = cider_d(pairs, frequencies)
    scores["CIDEr"] = cider(pairs, frequencies)
    return scores


def result(
    pairs: Pairs, scores: dict[str, Scores], about: dict[str, object], warnings: tuple[str, ...]
) -> Result:
    """The scores of `measure`, and any others on the same pairs, by metric and by image."""
    columns = [values.per_image.tolist() for values in scores.values()]
    rows = zip(pairs.ids, zip(*columns, strict=True), strict=True)
    return Result(
        {name: values.corpus for name, values in scores.items()},
        {image: dict(zip(scores, row, strict=True)) for image, row in rows},
        about,
        warnings,
        scores,
        pairs,
    )


def provenance(pairs: Pairs, coco_exact: bool, frequencies: Frequencies | None) -> dict:
    """What a reader must know to compare these scores with others."""
    of = f"{frequencies.images} images of a file" if frequencies else "these references"
    return {
        "images": len(pairs.ids),
        "references": pairs.n_references,
        "tokenizer": "PTB as in coco-caption" + (", file order" if coco_exact else ""),
        "document_frequencies": of,
        "variants": "BLEU closest length; CIDEr-D is what coco-caption prints as CIDEr",
        "version": VERSION,
    }


def score_warnings(pairs: Pairs, frequencies: Frequencies | None) -> list[str]:
    """Reasons why the scores may mean less than they seem to."""
    images = frequencies.images if frequencies else len(pairs.ids)
    if images == 1:
        return ["CIDEr is 0 for every caption: one image gives every n-gram the weight 0; see --df"]
    if images < FEW_IMAGES:
        return [f"CIDEr says little: its document frequencies come from {images} images; see --df"]
    return []
