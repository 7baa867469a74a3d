"""Validation: the loss of a decoder on a split, its captions and their scores.

In: a decoder, a data folder and a store of features. Out: a Validation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caption.data.batches import CaptionSet, Selection
from caption.data.data_folder import DataFolder
from caption.data.feature_store import Store
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.models import Decoder
from caption.training.losses import cross_entropy
from eval.scoring import score
from prepro.annotations.records import ImageRecord
from prepro.runtime.distributed import SINGLE_PROCESS, DistributedContext, all_gather, all_sum

LOW_UNIQUE = 0.25  # share of unique captions below which a warning is printed


@dataclass(frozen=True)
class Validation:
    loss: float
    """nats a token, teacher forced, one caption an image"""
    scores: dict[str, float]
    unique: float
    """number of different captions / number of images"""
    sentences: dict[int | str, str]
    """by image id"""

    def text(self, records: Sequence[ImageRecord], epoch: int) -> str:
        """The scores, five captions beside human ones, and a warning if few captions differ."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in self.scores.items())
        lines = [f"epoch {epoch}  val loss {self.loss:.3f}  {scores}"]
        first = {record.id: record.captions[0] for record in records if record.captions}
        examples = list(self.sentences.items())[:: max(1, len(self.sentences) // 5)][:5]
        lines += [f"  {text}   | {first.get(image, '')}" for image, text in examples]
        if self.unique < LOW_UNIQUE:
            lines.append(f"  warning: only {self.unique:.0%} of the captions are unique")
        return "\n".join(lines)


def generate_captions(
    model: Decoder, data: DataFolder, store: Store, rows: np.ndarray,
    options: DecodeOptions, batch_size: int = 50, seed: int = 0,
) -> Iterator[tuple[int, list[Caption]]]:  # fmt: skip
    """Yields (row, its n best captions) for each of `rows` (n,), in order."""
    model.eval()
    for first in range(0, len(rows), batch_size):
        batch = rows[first : first + batch_size]
        ids = [data.labels.records[row].id for row in batch]
        with torch.inference_mode():
            captions = decode(
                model, store(batch), options, data.labels.vocabulary, ids=ids, seed=seed
            )
        yield from zip(batch.tolist(), captions, strict=True)


def validate(
    model: Decoder, data: DataFolder, store: Store, split: str, options: DecodeOptions,
    context: DistributedContext = SINGLE_PROCESS,
) -> Validation:  # fmt: skip
    """Caption a split and score the captions; every process gets the same result.

    Each image is captioned by one process. `store` needs only the rows of this process.
    """
    was_training = model.training
    model.eval()
    rows = rows_of_rank(data, split, context)
    loss = _loss(model, CaptionSet(data, store, split, 1, seed=0), rows, context)
    records = data.labels.records
    captions = generate_captions(model, data, store, rows, options)
    own = {records[row].id: best.text for row, (best, *_) in captions}
    model.train(was_training)
    gathered = {image: text for part in all_gather(context, own) for image, text in part.items()}
    sentences = {records[row].id: gathered[records[row].id] for row in data.split(split)}
    references = {r.id: list(r.captions) for r in records if r.id in sentences and r.captions}
    candidates = {image: sentences[image] for image in references}
    unique = len(set(sentences.values())) / len(sentences)
    return Validation(loss, score(references, candidates).corpus, unique, sentences)


def rows_of_rank(data: DataFolder, split: str, context: DistributedContext) -> np.ndarray:
    """The rows of the images that this process validates, rising."""
    return data.split(split)[context.rank :: context.world]


def _loss(
    model: Decoder, captions: CaptionSet, rows: np.ndarray, context: DistributedContext
) -> float:
    """Mean over one caption of each image; the same captions for any number of processes."""
    is_own = np.isin(captions.rows, rows)
    rows, chosen = captions.rows[is_own], captions.draw_captions(0)[is_own]
    total = num_tokens = 0.0
    with torch.inference_mode():
        for first in range(0, len(rows), 100):
            part = slice(first, first + 100)
            batch = captions.batch(Selection(rows[part], chosen[part]))
            total += float(cross_entropy(model, batch, 1))
            num_tokens += int(batch.token_mask.sum())
    total, num_tokens = all_sum(context, total, num_tokens)
    return total / num_tokens
