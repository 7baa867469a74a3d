"""How good a decoder is on a split: its loss, its captions, their scores and their health."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from caption.data import CaptionSet, DataFolder, FeatureStore
from caption.decode import Caption, DecodeOptions, decode
from caption.losses import cross_entropy
from caption.models import Decoder
from eval.score import score


@dataclass(frozen=True)
class Validation:
    loss: float
    """nats a word, teacher forced, one caption an image"""
    scores: dict[str, float]
    unique: float
    """share of the captions that no other image got"""
    sentences: dict[int | str, str]
    """by image id"""


def captions_of(
    model: Decoder, data: DataFolder, store: FeatureStore, rows: np.ndarray,
    options: DecodeOptions, batch_size: int = 50, seed: int = 0,
) -> Iterator[tuple[int, list[Caption]]]:  # fmt: skip
    """(row, its n best captions) for each of `rows` (n,), in order."""
    model.eval()
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        ids = [data.labels.records[row].id for row in some]
        with torch.inference_mode():
            found = decode(
                model, store(some), options, data.labels.vocabulary, ids=ids, seed=seed
            )
        yield from zip(some.tolist(), found, strict=True)


def validate(
    model: Decoder, data: DataFolder, store: FeatureStore, split: str, options: DecodeOptions
) -> Validation:
    """Decode a split freely and score it. The global random state is left as it was."""
    with torch.random.fork_rng():
        was_training = model.training
        model.eval()
        loss = _loss(model, CaptionSet(data, store, split, 1, seed=0))
        vocabulary, records = data.labels.vocabulary, data.labels.records
        found = captions_of(model, data, store, data.split(split), options)
        sentences = {records[row].id: vocabulary.sentence(best.words) for row, (best, *_) in found}
        model.train(was_training)
    references = {r.id: list(r.captions) for r in records if r.id in sentences and r.captions}
    scored = {image: sentences[image] for image in references}
    return Validation(
        loss,
        score(references, scored).corpus,
        len(set(sentences.values())) / len(sentences),
        sentences,
    )


def _loss(model: Decoder, captions: CaptionSet) -> float:
    total = tokens = 0
    with torch.inference_mode():
        for batch in captions.epoch(0, 100):
            total += float(cross_entropy(model, batch, 1))
            tokens += int(batch.real.sum())
    return total / tokens
