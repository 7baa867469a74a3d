"""Multi-label targets: the labels in an annotation file, or the phrases of captions.

In: a COCO file whose images have `labels`, or a data folder with labels.json. The targets of the
latter are, for each frequent word or pair of words, the fraction of the image's captions that
contain it; Fang et al. 2015 (arXiv 1411.4952) detect words in this way.
Out: a LabelledDataset and its MultiLabel task.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.files import read_json
from eval.tokenizer import tokenize_corpus
from prepro.annotations.records import ImageRecord
from prepro.images import inside
from prepro.pretraining.dataset import LabelledDataset
from prepro.pretraining.image_folder import ImageFiles
from prepro.storage.label_file import read_labels

MAX_WORDS = 2  # in a phrase; a pair tells which colour belongs to which object
MAX_PHRASES = 1000
# A phrase must occur with this fraction of the training images: rarer phrases have too few
# examples, and more frequent ones do not distinguish images.
MIN_FREQUENCY, MAX_FREQUENCY = 0.003, 0.8


@dataclass(frozen=True)
class MultiLabel:
    """Many labels an image, as probabilities; tasks.SingleLabel is one class an image."""

    names: tuple[str, ...]
    main_error: ClassVar[str] = "labels"

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def to_probabilities(self, targets: Tensor) -> Tensor:
        return targets.float()

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross entropy minus the targets' entropy, summed over labels, mean over images."""
        targets = targets.float()
        entropy = F.binary_cross_entropy(targets, targets, reduction="sum")
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return (loss - entropy) / len(logits)

    def errors(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """1 - average precision of each image's labels, (B,)."""
        order = logits.argsort(1, descending=True)
        hits = (targets > 0).gather(1, order).float()  # (B, C), best guess first
        precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1, device=hits.device)
        return {"labels": 1 - (precision * hits).sum(1) / hits.sum(1).clamp(min=1)}


def open_label_file(path: Path) -> tuple[LabelledDataset, MultiLabel]:
    """The images of a COCO file, each with a split and labels, as prepro.scenes writes it.

    ValueError for a file without them.
    """
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not images or not all("labels" in image and "split" in image for image in images):
        raise ValueError(f"{path}: expected images with the keys labels and split")
    names = tuple(sorted({label for image in images for label in image["labels"]}))

    def read_split(split: str) -> ImageFiles:
        chosen = [image for image in images if image["split"] == split]
        targets = [[name in image["labels"] for name in names] for image in chosen]
        paths = [str(inside(path.parent, image["file_name"])) for image in chosen]
        return ImageFiles(paths, np.array(targets, np.float16))

    return LabelledDataset(read_split("train"), read_split("val"), names), MultiLabel(names)


def open_caption_labels(folder: Path) -> tuple[LabelledDataset, MultiLabel]:
    """The images of a data folder, with the phrases of their captions as labels.

    ValueError if there are too few captions.
    """
    labels = read_labels(folder)
    train, val = ([labels.records[i] for i in labels.split(name)] for name in ("train", "val"))
    train_phrases = [phrases_of(record) for record in train]
    names = frequent_phrases(train_phrases)
    if len(names) < 2:
        raise ValueError(
            f"{folder}: too few captions to learn phrases from; give a larger data folder"
        )
    root = labels.image_root
    val_phrases = [phrases_of(record) for record in val]
    data = LabelledDataset(
        _files(root, train, train_phrases, names), _files(root, val, val_phrases, names), names
    )
    return data, MultiLabel(names)


def phrases_of(record: ImageRecord) -> list[set[str]]:
    """The phrases of each caption of an image: single words and pairs."""
    found = []
    for words in tokenize_corpus(record.captions):
        spans = [(i, i + n) for n in range(1, MAX_WORDS + 1) for i in range(len(words) - n + 1)]
        found.append({" ".join(words[i:j]) for i, j in spans})
    return found


def frequent_phrases(phrases_of_images: Sequence[Sequence[set[str]]]) -> tuple[str, ...]:
    """The phrases of useful frequency, the most frequent first."""
    counts = Counter(phrase for captions in phrases_of_images for phrase in set().union(*captions))
    low, high = (frequency * len(phrases_of_images) for frequency in (MIN_FREQUENCY, MAX_FREQUENCY))
    useful = [(-count, phrase) for phrase, count in counts.items() if low <= count <= high]
    return tuple(phrase for _, phrase in sorted(useful)[:MAX_PHRASES])


def _files(
    root: Path, records: Sequence[ImageRecord], phrases: Sequence, names: Sequence[str]
) -> ImageFiles:
    index = {name: i for i, name in enumerate(names)}
    targets = np.zeros((len(records), len(names)), np.float16)
    for row, captions in zip(targets, phrases, strict=True):
        for caption in captions:
            row[[index[phrase] for phrase in caption if phrase in index]] += 1 / len(captions)
    return ImageFiles([str(inside(root, record.path)) for record in records], targets)
