"""The captions of a run for a report, with the probability and the attention of each word.

In: a run and its data folder. Out: a ScoredCaption by image id.

B images, T words, R regions.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caption.captioner import Captioner
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore
from caption.decoding.decode import decode
from caption.inference.image_source import features_for
from caption.models import Features
from eval.caption_files import image_id, read_results
from eval.results_provenance import read_about, require_captions, require_model
from eval.tokenizer import tokenize
from prepro.extraction.image_loader import digest
from prepro.images import BadImage, inside, read_file
from prepro.runtime.progress_bar import ProgressBar
from prepro.storage.feature_file import hash_of_pictures
from prepro.storage.feature_identity import require_features

BATCH = 50  # images


@dataclass(frozen=True, eq=False)
class ScoredCaption:
    """A caption with the probability and the attention of each word."""

    text: str
    words: list[str]
    probabilities: list[float]
    """of each word; [] if the vocabulary of the run lacks one of them"""
    attention: Tensor | None = None
    """(T, R), or None"""
    boxes: np.ndarray | None = None
    """(R', 4) of the regions that are no padding, as features.h5 holds them, or None"""


def load_captions(
    captioner: Captioner, data: DataFolder, rows: np.ndarray, results: Path | None
) -> dict[Hashable, ScoredCaption]:
    """The captions of the images at `rows`, from a results file or else decoded now.

    ValueError if the file lacks a caption.
    """
    if results:
        require_model(results, captioner.path)
        require_captions(results, data.labels.folder / "labels.json")
        _require_pictures(results, data, rows)
    store, vocabulary = features_for(captioner, data), captioner.vocabulary
    texts_of_file = _read_texts(results, data, rows) if results else None
    captions: dict[Hashable, ScoredCaption] = {}
    with ProgressBar(len(rows), "captions") as progress:
        for first in range(0, len(rows), BATCH):
            batch = rows[first : first + BATCH]
            ids = [data.labels.records[row].id for row in batch]
            features = store(batch)
            if texts_of_file:
                texts = texts_of_file[first : first + BATCH]
            else:
                with torch.inference_mode():
                    decoded = decode(
                        captioner.decoder, features, captioner.decoding, vocabulary, ids=ids
                    )
                texts = [best.text for best, *_ in decoded]
            boxes = _boxes(store, data, batch)
            pairs = zip(score_texts(captioner, features, texts), boxes, strict=True)
            scored = [replace(one, boxes=own) for one, own in pairs]
            captions.update(zip(map(image_id, ids), scored, strict=True))
            progress.add(len(batch))
    return captions


def _require_pictures(results: Path, data: DataFolder, rows: np.ndarray) -> None:
    """ValueError if the results were made from other features, or other pictures, than today's."""
    about, mend = read_about(results), "run caption.generate again"
    if about and about.get("features", {}) is not None:  # None: the pictures were encoded
        require_features(data.features, about.get("features", {}), results, mend)
    elif about.get("pictures"):
        root, records = data.labels.image_root, data.labels.records
        digests = [_digest(inside(root, records[row].path)) for row in rows]
        if hash_of_pictures(np.array(digests)[:, None]) != about["pictures"]:
            raise ValueError(f"{results}: made from pictures that have changed since; {mend}")


def _digest(path: Path) -> int:
    try:
        return digest(read_file(path))
    except BadImage:
        return 0


def _boxes(store: object, data: DataFolder, rows: np.ndarray) -> list[np.ndarray | None]:
    """Of each image; None for features computed on the fly, and for an image without boxes."""
    if not data.features.has_boxes or not isinstance(store, FeatureStore):
        return [None] * len(rows)
    pairs = zip(data.features.boxes(rows), data.features.mask(rows), strict=True)
    every = [boxes[mask] for boxes, mask in pairs]
    return [boxes if boxes.any() else None for boxes in every]


def score_texts(
    captioner: Captioner, features: Features, texts: Sequence[str]
) -> Iterator[ScoredCaption]:
    """Probabilities and attention of each image's text, teacher forced.

    They equal those of free decoding, since both do the same computation.
    """
    words = [tokenize(text) for text in texts]
    indices = [captioner.vocabulary.encode(caption) for caption in words]
    tokens = torch.zeros(len(texts), 1, 1 + max(map(len, indices)), dtype=torch.long)
    for row, ids in enumerate(indices):
        tokens[row, 0, 1 : 1 + len(ids)] = torch.tensor(ids)
    decoder = captioner.decoder
    with torch.inference_mode():
        tokens = tokens.to(features.fc.device)
        hidden, attention, _ = decoder.teacher_force(features, tokens, need_attention=True)
        log_probs = decoder.logits(hidden).log_softmax(-1).view(*tokens.shape, -1)[:, 0].cpu()
        if attention is not None:
            attention = attention.view(*tokens.shape, -1)  # (B, 1, T, R)
    for row, (text, caption, ids) in enumerate(zip(texts, words, indices, strict=True)):
        is_known = len(caption) == len(ids)  # every word is in the vocabulary
        probabilities = log_probs[row, range(len(ids)), ids].exp().tolist() if is_known else []
        weights = None
        if is_known and attention is not None:
            weights = attention[row, 0, : len(ids)].cpu()
        yield ScoredCaption(text, caption, probabilities, weights)


def _read_texts(path: Path, data: DataFolder, rows: np.ndarray) -> list[str]:
    captions = read_results(path).captions
    ids = [image_id(data.labels.records[row].id) for row in rows]
    missing = [image for image in ids if image not in captions]
    if missing:
        raise ValueError(
            f"{path}: {len(missing):,} of the split's {len(ids):,} images without a caption, "
            f"{missing[0]!r} for one; is it of another --split?"
        )
    return [captions[image] for image in ids]
