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
from eval.caption_statistics import caption_warnings
from eval.files import printable
from eval.scoring import score
from prepro.annotations.records import ImageRecord
from prepro.runtime.distributed import SINGLE_PROCESS, DistributedContext, all_gather, all_sum

EXAMPLES, COLUMN = 3, 37  # captions in the terminal; characters of each, for 80 columns
SHOWN = ("BLEU-4", "ROUGE-L", "CIDEr-D")  # metrics in the terminal; metrics.jsonl has all


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
        """A table of 80 columns: scores, and captions beside those of people; and warnings."""
        scores = {name: self.scores[name] for name in SHOWN if name in self.scores}
        heads = ["epoch", "val loss", *scores]
        cells = [f"{epoch}", f"{self.loss:.3f}", *(f"{score:.3f}" for score in scores.values())]
        widths = [max(map(len, pair)) for pair in zip(heads, cells, strict=True)]
        rows = [heads, cells]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        people = {record.id: record.captions[0] for record in records if record.captions}
        step = max(1, len(self.sentences) // EXAMPLES)
        samples = list(self.sentences.items())[::step][:EXAMPLES]
        pairs = [("said", "people said"), *((said, people.get(i, "")) for i, said in samples)]
        lines += [f"  {_fit(said).ljust(COLUMN)}  {_fit(other)}" for said, other in pairs]
        lines += [f"  warning: {text}" for text in caption_warnings(list(self.sentences.values()))]
        return "\n".join(lines)


def _fit(caption: str) -> str:
    """At most COLUMN characters of a caption."""
    text = " ".join(printable(caption).split())
    return text if len(text) <= COLUMN else text[: COLUMN - 1] + "…"


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
    of_split = [records[row] for row in data.split(split)]
    sentences = {record.id: gathered[record.id] for record in of_split}
    references = {record.id: list(record.captions) for record in of_split if record.captions}
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
