"""Score captions with every metric: BLEU-1..4, ROUGE-L, CIDEr-D and CIDEr, as coco-caption does.

In: references and candidates by image id. Out: a `Result`. The command is `python -m eval.score`.

    from eval.scoring import score
    score({1: ["A dog runs.", "a dog"]}, {1: "a dog runs"}).corpus
"""

import importlib
import pkgutil
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from eval import metrics
from eval.caption_files import captions_of, disagreement
from eval.caption_statistics import caption_warnings
from eval.metrics.document_frequencies import Frequencies
from eval.metrics.ngram_counts import Pairs, Scores, pair

VERSION = "1"  # of the scores: raised when any number changes
FEW_IMAGES = 100  # below this, document frequencies are unreliable
PRINTED_FIRST = ("bleu", "rouge", "cider")  # modules; all others follow in alphabetical order


@dataclass(frozen=True)
class Result:
    """Scores on the scale of the official tool, and where they come from."""

    corpus: dict[str, float]  # by metric: BLEU-1 .. BLEU-4, ROUGE-L, CIDEr-D, CIDEr
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
    """Score raw captions by image id; either argument may be a `pycocotools.coco.COCO`.

    Raises ValueError when an image has a candidate but no references, or references but no
    candidate; with `subset`, the images that have both are scored. `coco_exact` tokenises as the
    official tool does where that depends on the order of the captions (see `eval.tokenizer`).
    CIDEr takes its document frequencies from the references of the scored images, as the official
    tool does, unless `frequencies` is given.
    """
    references, candidates = captions_of(references), captions_of(candidates)
    differences = disagreement(references, candidates, ())
    if differences and not subset:
        raise ValueError("; ".join(differences))
    shared = {image: candidates[image] for image in references if image in candidates}
    if not shared:
        raise ValueError("no image has both a caption and references")
    pairs = pair(references, shared, coco_exact, frequencies)
    texts = [" ".join(candidate) for _, candidate in pairs.by_image()]
    warnings = (*differences, *score_warnings(pairs), *caption_warnings(texts))
    return result(pairs, measure(pairs), provenance(pairs, coco_exact), warnings)


def measure(pairs: Pairs) -> dict[str, Scores]:
    """Every metric by its name: those of each module in eval/metrics/ that defines `score`."""
    return {
        name: scores for module in metric_modules() for name, scores in module.score(pairs).items()
    }


def metric_modules() -> list[ModuleType]:
    """The modules directly in eval/metrics/ that define `score`, in the order of their output."""
    names = sorted(found.name for found in pkgutil.iter_modules(metrics.__path__))
    names.sort(key=lambda n: PRINTED_FIRST.index(n) if n in PRINTED_FIRST else len(PRINTED_FIRST))
    modules = (importlib.import_module(f"{metrics.__name__}.{name}") for name in names)
    return [module for module in modules if hasattr(module, "score")]


def result(
    pairs: Pairs,
    scores: dict[str, Scores],
    provenance: dict[str, object],
    warnings: tuple[str, ...],
) -> Result:
    """The scores of `measure`, and any others of the same pairs, as one `Result`."""
    columns = [values.per_image.tolist() for values in scores.values()]
    rows = zip(pairs.ids, zip(*columns, strict=True), strict=True)
    return Result(
        {name: values.corpus for name, values in scores.items()},
        {image: dict(zip(scores, row, strict=True)) for image, row in rows},
        provenance,
        warnings,
        scores,
        pairs,
    )


def provenance(pairs: Pairs, coco_exact: bool) -> dict[str, object]:
    """What a reader must know to compare these scores with others."""
    given = pairs.frequencies
    return {
        "images": len(pairs.ids),
        "references": pairs.n_references,
        "tokenizer": "PTB as in coco-caption" + (", file order" if coco_exact else ""),
        "document_frequencies": f"{given.images} images of a file" if given else "these references",
        "variants": "BLEU closest length; CIDEr-D is what coco-caption prints as CIDEr",
        "version": VERSION,
    }


def score_warnings(pairs: Pairs) -> list[str]:
    """The reasons why CIDEr is unreliable for these pairs; [] if there are none."""
    images = pairs.frequencies.images if pairs.frequencies else len(pairs.ids)
    if images == 1:
        return ["CIDEr is 0 for every caption: one image gives every n-gram the weight 0; see --df"]
    if images < FEW_IMAGES:
        return [
            f"CIDEr is unreliable: its document frequencies come from {images} images; see --df"
        ]
    return []
