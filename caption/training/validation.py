"""How good a decoder is on a split: its loss, its captions, their scores and their health.

In: a decoder, a data folder and a store of features. Out: a Validation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from caption.data.batches import SINGLE_PROCESS, CaptionSet, DataFolder, Picks
from caption.data.feature_store import Store
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.models import Decoder
from caption.training.losses import cross_entropy
from eval.score import score
from eval.table import printed
from prepro.annotations.records import ImageRecord
from prepro.runtime.distributed import DistributedContext, all_gather, all_sum


@dataclass(frozen=True)
class Validation:
    loss: float
    """nats a word, teacher forced, one caption an image"""
    scores: dict[str, float]
    unique: float
    """share of the captions that no other image got"""
    sentences: dict[int | str, str]
    """by image id"""

    def text(self, records: Sequence[ImageRecord], epoch: int) -> str:
        """The scores, five captions beside what people wrote, and a warning when they collapse."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in printed(self.scores).items())
        lines = [f"epoch {epoch}  val loss {self.loss:.3f}  {scores}"]
        first = {record.id: record.captions[0] for record in records if record.captions}
        some = list(self.sentences.items())[:: max(1, len(self.sentences) // 5)][:5]
        lines += [f"  {text}   | {first.get(image, '')}" for image, text in some]
        if self.unique < 0.25:
            lines.append(f"  warning: only {self.unique:.0%} of the captions are unique")
        return "\n".join(lines)


def captions_of(
    model: Decoder, data: DataFolder, store: Store, rows: np.ndarray,
    options: DecodeOptions, batch_size: int = 50, seed: int = 0,
) -> Iterator[tuple[int, list[Caption]]]:  # fmt: skip
    """(row, its n best captions) for each of `rows` (n,), in order."""
    model.eval()
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        ids = [data.labels.records[row].id for row in some]
        with torch.inference_mode():
            found = decode(model, store(some), options, data.labels.vocabulary, ids=ids, seed=seed)
        yield from zip(some.tolist(), found, strict=True)


def validate(
    model: Decoder, data: DataFolder, store: Store, split: str, options: DecodeOptions,
    context: DistributedContext = SINGLE_PROCESS,
) -> Validation:  # fmt: skip
    """Decode a split freely and score it; of several processes each decodes its share.

    Each image is captioned once, however many processes there are, and all get the same result.
    `store` need only know this process's `share` of the split.
    """
    was_training = model.training
    model.eval()
    rows = share(data, split, context)
    loss = _loss(model, CaptionSet(data, store, split, 1, seed=0), rows, context)
    vocabulary, records = data.labels.vocabulary, data.labels.records
    found = captions_of(model, data, store, rows, options)
    mine = {records[row].id: vocabulary.sentence(best.token_ids) for row, (best, *_) in found}
    model.train(was_training)
    everyone = {image: text for part in all_gather(context, mine) for image, text in part.items()}
    sentences = {records[row].id: everyone[records[row].id] for row in data.split(split)}
    references = {r.id: list(r.captions) for r in records if r.id in sentences and r.captions}
    scored = {image: sentences[image] for image in references}
    unique = len(set(sentences.values())) / len(sentences)
    return Validation(loss, score(references, scored).corpus, unique, sentences)


def share(data: DataFolder, split: str, context: DistributedContext) -> np.ndarray:
    """The positions of the images that this process validates, rising."""
    return data.split(split)[context.rank :: context.world]


def _loss(
    model: Decoder, captions: CaptionSet, rows: np.ndarray, context: DistributedContext
) -> float:
    """Over one caption of each image; the same caption for any number of processes."""
    mine = np.isin(captions.rows, rows)
    rows, chosen = captions.rows[mine], captions.choose(0)[mine]
    total = tokens = 0.0
    with torch.inference_mode():
        for first in range(0, len(rows), 100):
            some = slice(first, first + 100)
            batch = captions.batch(Picks(rows[some], chosen[some]))
            total += float(cross_entropy(model, batch, 1))
            tokens += int(batch.token_mask.sum())
    total, tokens = all_sum(context, total, tokens)
    return total / tokens
