"""Lessons with many answers a picture: the labels in an annotation file, or what captions say.

In: a COCO file whose images have `labels`, or a data folder with labels.json; for the latter the
targets are, for each frequent word and pair of words, the share of the picture's captions that
contain it (Fang et al. 2015, arXiv 1411.4952, detect words so).
Out: training and validation pictures, and MultiLabel.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eval.files import read_json
from eval.tokenizer import tokenize_corpus
from prepro.annotations.records import ImageRecord
from prepro.images import inside
from prepro.pretraining.dataset import Data
from prepro.pretraining.image_folder import Files
from prepro.storage.label_file import read_labels

LONGEST = 2  # words of a phrase: a pair says which colour goes with which thing
MOST = 1000  # phrases
SHARE = (0.003, 0.8)  # of the training pictures that a phrase must occur with: rarer ones teach
# nothing, and one that is nearly always there says nothing about the picture


@dataclass(frozen=True)
class MultiLabel:
    """Soft labels, many a picture; targets.Classes is the same for one class a picture."""

    names: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.names)

    def soft(self, targets: Tensor) -> Tensor:
        return targets.float()

    def loss(self, logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Binary cross entropy above the entropy of the targets, summed over labels, mean (B)."""
        targets = targets.float()
        floor = F.binary_cross_entropy(targets, targets, reduction="sum")
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        return (loss - floor) / len(logits)

    def errors(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """1 - average precision of each picture's labels, (B,)."""
        order = logits.argsort(1, descending=True)
        hits = (targets > 0).gather(1, order).float()  # (B, C), best guess first
        precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1, device=hits.device)
        return {"labels": 1 - (precision * hits).sum(1) / hits.sum(1).clamp(min=1)}


def open_labels(path: Path) -> tuple[Data, MultiLabel]:
    """The pictures of a COCO file with a split and labels each, as prepro.scenes writes them."""
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not images or not all("labels" in image and "split" in image for image in images):
        raise ValueError(f"{path}: expected images with labels and a split")
    names = tuple(sorted({label for image in images for label in image["labels"]}))

    def files(split: str) -> Files:
        some = [image for image in images if image["split"] == split]
        targets = [[name in image["labels"] for name in names] for image in some]
        paths = [str(inside(path.parent, image["file_name"])) for image in some]
        return Files(paths, np.array(targets, np.float16))

    return Data(files("train"), files("val"), names), MultiLabel(names)


def open_captions(folder: Path) -> tuple[Data, MultiLabel]:
    """The training and validation pictures of a data folder, with the phrases of their captions."""
    labels = read_labels(folder)
    train, val = ([labels.records[i] for i in labels.split(name)] for name in ("train", "val"))
    spoken = [phrases_of(record) for record in train]
    names = frequent(spoken)
    if len(names) < 2:
        raise ValueError(f"{folder}: too few captions to learn phrases from")
    root = labels.image_root
    held_out = [phrases_of(record) for record in val]
    data = Data(_files(root, train, spoken, names), _files(root, val, held_out, names), names)
    return data, MultiLabel(names)


def phrases_of(record: ImageRecord) -> list[set[str]]:
    """The phrases of each caption."""
    found = []
    for words in tokenize_corpus(record.captions):
        spans = [(i, i + n) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)]
        found.append({" ".join(words[i:j]) for i, j in spans})
    return found


def frequent(spoken: Sequence[Sequence[set[str]]]) -> tuple[str, ...]:
    """The phrases worth learning, the most frequent first."""
    counts = Counter(phrase for captions in spoken for phrase in set().union(*captions))
    low, high = (share * len(spoken) for share in SHARE)
    kept = [(-count, phrase) for phrase, count in counts.items() if low <= count <= high]
    return tuple(phrase for _, phrase in sorted(kept)[:MOST])


def _files(
    root: Path, records: Sequence[ImageRecord], spoken: Sequence, names: Sequence[str]
) -> Files:
    index = {name: i for i, name in enumerate(names)}
    targets = np.zeros((len(records), len(names)), np.float16)
    for row, captions in zip(targets, spoken, strict=True):
        for phrases in captions:
            row[[index[p] for p in phrases if p in index]] += 1 / len(captions)
    return Files([str(inside(root, record.path)) for record in records], targets)
