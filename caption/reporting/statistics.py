"""The numbers of a report: scores with intervals, the paired test, the captions, provenance.

In: the captions of one or more runs for the same pictures. Out: plain JSON values.
"""

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch

from caption.captioner import Captioner
from caption.data.data_folder import DataFolder
from caption.reporting.captions import ScoredCaption
from caption.reporting.word_statistics import word_statistics
from eval.caption_files import image_id
from eval.caption_statistics import (
    BAD_ENDINGS,
    TrainingCaptions,
    caption_statistics,
    look_up,
    repeats_trigram,
)
from eval.metrics.chair import Truth, chair, hallucinated, measured_against, objects_there
from eval.scoring import Result, score
from eval.significance import bootstrap, compare, corrected
from eval.tokenizer import tokenize
from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import Labels

Marks = dict[Hashable, dict[str, object]]


def statistics(
    labels: Labels, records: Sequence[ImageRecord],
    captions: Sequence[Mapping[Hashable, ScoredCaption]], names: Sequence[str], times: int,
    truth: Truth | None = None,
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
    spoken = [s.words for own in captions for s in own.values()]
    training = look_up(spoken, _training(labels))
    described = [_describe([s.words for s in own.values()], training) for own in captions]
    tokens = list(results[0].pairs.by_image())
    said = [[own[i].words for i in results[0].pairs.ids] for own in captions]
    human = [words for several, _ in tokens for words in several]
    page = {
        "scores": [_scored(result, times) for result in results],
        "comparisons": _compared(results, times),
        "chair": [_chair(result, truth) for result in results],
        "chair_against": measured_against(truth),
        "health": [*described, _describe(human, None)],
        "words": [word_statistics([several for several, _ in tokens], own) for own in said],
        "provenance": results[0].provenance,
        "warnings": list(results[0].warnings),
    }
    return page, [
        _marks(s, r, training.said, truth) for s, r in zip(captions, results, strict=True)
    ]


def _training(labels: Labels) -> Iterator[list[str]]:
    """The tokenised captions of the training split, one at a time."""
    for record in labels.records:
        yield from map(tokenize, record.captions if record.split == "train" else ())


def _scored(result: Result, times: int) -> dict:
    """{metric: [score, low, high]}."""
    found = bootstrap(result.scores, times)
    return {n: [result.corpus[n], found[n].low, found[n].high] for n in result.corpus}


def _describe(captions: Sequence[Sequence[str]], training: TrainingCaptions | None) -> dict:
    """Of the captions of a run, or of people; `repeated` is the share that repeats a trigram."""
    repeated = sum(map(repeats_trigram, captions)) / len(captions)
    return asdict(caption_statistics(captions, training)) | {"repeated": repeated}


def _compared(results: Sequence[Result], times: int) -> list[dict]:
    """The other runs' scores less the first's, as eval.score --against has them."""
    found = [compare(results[0].scores, other.scores, times) for other in results[1:]]
    return [{n: asdict(comparison) for n, comparison in one.items()} for one in corrected(found)]


def _chair(result: Result, truth: Truth | None) -> dict[str, float | None]:
    """CHAIRs and CHAIRi; None where no caption names an object."""
    found = chair(result.pairs, truth)
    named = found["CHAIRi"].parts[:, 1].any()
    return {name: scores.corpus if named else None for name, scores in found.items()}


def _marks(
    captions: Mapping[Hashable, ScoredCaption], result: Result, training: Set, truth: Truth | None
) -> Marks:
    """By picture: CIDEr-D (None without references), faults, and words that are hallucinated."""
    scored = result.per_image
    there = dict(zip(result.pairs.ids, objects_there(result.pairs, truth), strict=True))
    marks: Marks = {}
    for image, caption in captions.items():
        wrong = _hallucinated(caption.words, there[image], truth) if image in there else []
        marks[image] = {
            "cider": round(scored[image]["CIDEr-D"], 4) if image in scored else None,
            "faults": faults(caption.words, training) + ["hallucination"] * bool(wrong),
            "hallucinated": wrong,
        }
    return marks


def _hallucinated(words: Sequence[str], there: set[str], truth: Truth | None) -> list[int]:
    """The positions of words that name an object that is not there."""
    found = hallucinated(words, there, truth.names if truth else None)
    return [m.start + offset for m in found for offset in range(m.length)]


def faults(words: Sequence[str], training: Set[tuple[str, ...]]) -> list[str]:
    """Those that hold of: empty, bad ending, repetition, training caption."""
    found = {
        "empty": not words,
        "bad ending": bool(words) and words[-1] in BAD_ENDINGS,
        "repetition": repeats_trigram(words),
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
        "date": datetime.fromtimestamp(captioner.path.stat().st_mtime).date().isoformat(),
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
