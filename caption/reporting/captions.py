"""What a run says about the pictures of a split, and the pictures, ready for a page.

In: a run and its data folder. Out: `ScoredCaption` by image id, with each word's probability and where the
decoder looked; and the source of each picture for an <img>: a thumbnail, or a link beside the page.

B images, T words, R regions.
"""

import base64
import io
import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from caption.captioner import Captioner
from caption.data.data_folder import DataFolder
from caption.decoding.decode import decode
from caption.inference.image_source import features_for
from caption.models import Features
from eval.caption_files import image_id, read_results
from eval.tokenizer import tokenize
from prepro.images import BadImage, inside, open_rgb, upright_size

Pictures = Literal["auto", "inline", "link"]
SIDE = 320  # pixels of a thumbnail's longer side
BUDGET = 22_000_000  # characters of thumbnails that "auto" puts into a page


@dataclass(frozen=True, eq=False)
class ScoredCaption:
    """A caption, word by word."""

    text: str
    words: list[str]
    probabilities: list[float]
    """of each word; [] where the run cannot say all of them"""
    attention: Tensor | None = None
    """(T, R), or None"""


@dataclass(frozen=True)
class ImageSource:
    """A picture for an <img>, and the size of its file."""

    src: str
    width: int
    height: int
    trouble: str = ""
    """why there is no picture"""


def spoken(
    captioner: Captioner, data: DataFolder, rows: np.ndarray, results: Path | None
) -> dict[Hashable, ScoredCaption]:
    """The captions of the images at `rows`: those of a results file, else decoded anew.

    ValueError where the file lacks a caption.
    """
    store, vocabulary = features_for(captioner, data), captioner.vocabulary
    written = _from_file(results, data, rows) if results else None
    said: dict[Hashable, ScoredCaption] = {}
    for first in range(0, len(rows), 50):
        some = rows[first : first + 50]
        ids = [data.labels.records[row].id for row in some]
        features = store(some)
        if written:
            texts = written[first : first + 50]
        else:
            with torch.inference_mode():
                found = decode(captioner.decoder, features, captioner.decoding, vocabulary, ids=ids)
            texts = [vocabulary.sentence(best.token_ids) for best, *_ in found]
        explained = explain(captioner, features, texts)
        said.update(zip(map(image_id, ids), explained, strict=True))
    return said


def explain(
    captioner: Captioner, features: Features, texts: Sequence[str]
) -> Iterator[ScoredCaption]:
    """Each image's text with what the decoder thinks and looks at when it says it, teacher forced.

    These are the numbers that decoding itself returns: forced and free steps are one computation.
    """
    words = [tokenize(text) for text in texts]
    indices = [captioner.vocabulary.encode(some) for some in words]
    fed = torch.zeros(len(texts), 1, 1 + max(map(len, indices)), dtype=torch.long)
    for row, some in enumerate(indices):
        fed[row, 0, 1 : 1 + len(some)] = torch.tensor(some)
    decoder = captioner.decoder
    with torch.inference_mode():
        fed = fed.to(features.fc.device)
        hidden, attention, _ = decoder.teacher_force(features, fed, need_attention=True)
        log_probs = decoder.logits(hidden).log_softmax(-1).view(*fed.shape, -1)[:, 0].cpu()
        if attention is not None:
            attention = attention.view(*fed.shape, -1)  # (B, 1, T, R)
    for row, (text, some, index) in enumerate(zip(texts, words, indices, strict=True)):
        known = len(some) == len(index)  # the run has every word of it
        chosen = log_probs[row, range(len(index)), index].exp().tolist() if known else []
        looked = attention[row, 0, : len(index)].cpu() if known and attention is not None else None
        yield ScoredCaption(text, some, chosen, looked)


def _from_file(path: Path, data: DataFolder, rows: np.ndarray) -> list[str]:
    captions = read_results(path).captions
    ids = [image_id(data.labels.records[row].id) for row in rows]
    missing = [image for image in ids if image not in captions]
    if missing:
        raise ValueError(
            f"{path}: {len(missing):,} of the split's {len(ids):,} images without a caption, "
            f"{missing[0]!r} for one; is it of another --split?"
        )
    return [captions[image] for image in ids]


def sources(root: Path, names: Sequence[str], page: Path, how: Pictures) -> list[ImageSource]:
    """The pictures `names` under `root` for the page at `page`.

    "inline" makes thumbnails, which the page carries; "link" links the files; "auto" makes
    thumbnails as long as they come to less than BUDGET in all, else it links.
    """
    found, total = [], 0
    for name in names if how != "link" else ():
        found.append(_guarded(_thumbnail, root, name))
        total += len(found[-1].src)
        if how == "auto" and total > BUDGET:
            break
    else:
        if how != "link":
            return found
    beside = page.resolve().parent
    return [_guarded(lambda path: _link(path, beside), root, name) for name in names]


def _guarded(make, root: Path, name: str) -> ImageSource:
    """What `make` makes of the file; a bad picture or name becomes words."""
    try:
        return make(inside(root, name))
    except ValueError as error:  # BadImage is one
        reason = str(error) if isinstance(error, BadImage) else "not a name inside the image folder"
        return ImageSource("", 1, 1, reason)


def _thumbnail(path: Path) -> ImageSource:
    picture = open_rgb(path, SIDE)
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=70, method=2)  # a fifth smaller than such a JPEG
    text = base64.b64encode(data.getvalue()).decode()
    return ImageSource(f"data:image/webp;base64,{text}", *upright_size(path))


def _link(path: Path, beside: Path) -> ImageSource:
    relative = os.path.relpath(path.resolve(), beside).replace(os.sep, "/")
    return ImageSource(quote(relative), *upright_size(path))
