"""The numbers of a report: scores with intervals, the paired test, caption health, provenance.

In: the captions of one or two runs for the same pictures. Out: plain JSON values.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from caption.captioner import Captioner
from caption.data.data_folder import DataFolder
from caption.reporting.captions import ScoredCaption
from eval.caption_files import image_id
from eval.health import BAD_ENDINGS, health, repeats
from eval.metrics.ngram_counts import pair
from eval.scoring import Result, score
from eval.significance import bootstrap, compare
from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import Labels

Marks = dict[Hashable, dict[str, object]]


def statistics(
    labels: Labels, records: Sequence[ImageRecord],
    captions: Sequence[Mapping[Hashable, ScoredCaption]], names: Sequence[str], times: int,
) -> tuple[dict, list[Marks]]:  # fmt: skip
    """The numbers of all pictures, and for each run the marks of each picture.

    ValueError if no picture has references, or if the runs captioned different pictures.
    """
    references = {image_id(r.id): list(r.captions) for r in records if r.captions}
    for name, own in zip(names[1:], captions[1:], strict=True):
        if own.keys() != captions[0].keys():
            raise ValueError(
                f"{name} captioned other pictures than {names[0]}; give the same --data"
            )
    results = [score(references, {i: own[i].text for i in references}) for own in captions]
    training = _training(labels)
    healths = [health([s.words for s in own.values()], training) for own in captions]
    page = {
        "scores": [_scored(result, times) for result in results],
        "comparison": _compared(results, times),
        "health": [asdict(health_of_run) for health_of_run in healths],
        "provenance": results[0].provenance,
        "warnings": list(results[0].warnings),
    }
    known = set(training)
    return page, [_marks(s, r, known) for s, r in zip(captions, results, strict=True)]


def _training(labels: Labels) -> list[tuple[str, ...]]:
    """The tokenised captions of the training split."""
    captions = {i: r.captions for i, r in enumerate(labels.records) if r.split == "train"}
    tokens = pair(captions, dict.fromkeys(captions, "")).tokens if captions else []
    return [tuple(words) for words in tokens[: len(tokens) - len(captions)]]


def _scored(result: Result, times: int) -> dict:
    """{metric: [score, low, high]}."""
    found = bootstrap(result.scores, times)
    return {n: [result.corpus[n], found[n].low, found[n].high] for n in result.corpus}


def _compared(results: Sequence[Result], times: int) -> dict | None:
    """The first run's scores less the second's, by metric, with interval and p-value."""
    if len(results) < 2:
        return None
    found = compare(results[1].scores, results[0].scores, times)
    return {name: asdict(comparison) for name, comparison in found.items()}


def _marks(captions: Mapping[Hashable, ScoredCaption], result: Result, training: set) -> Marks:
    """By picture: CIDEr-D (None without references) and the faults of the caption."""
    scored = result.per_image
    return {
        image: {
            "cider": round(scored[image]["CIDEr-D"], 4) if image in scored else None,
            "faults": faults(caption.words, training),
        }
        for image, caption in captions.items()
    }


def faults(words: Sequence[str], training: set[tuple[str, ...]]) -> list[str]:
    """Those that hold of: empty, bad ending, repetition, training caption."""
    found = {
        "empty": not words,
        "bad ending": bool(words) and words[-1] in BAD_ENDINGS,
        "repetition": repeats(words),
        "training caption": tuple(words) in training,
    }
    return [name for name, holds in found.items() if holds]


def provenance(name: str, run: Path, captioner: Captioner, data: DataFolder, results) -> dict:
    """The origin of a run's captions: hashes of files, config, encoder, decoding options."""
    with open(captioner.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made = data.features.provenance
    return {
        "name": name,
        "captions": f"{results}" if results else "decoded for this page",
        "side": captioner.regions,
        "config": captioner.run["config"],
        "decoding": asdict(captioner.decoding),
        "origin": {
            "model": str(captioner.path),
            "model_sha256": digest,
            "encoder": made.encoder,
            "encoder_weights": made.weights,
            "encoder_sha256": made.weights_sha256,
            "transform": captioner.encoder_info.get("transform") or {},
            "images_sha256": made.images,
            "vocabulary": len(captioner.vocabulary),
            "validation": captioner.run.get("validation"),
            "torch": torch.__version__,
        },
    }
