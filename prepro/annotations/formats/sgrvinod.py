"""WORDMAP_x.json of sgrvinod's captioning tutorial, with SPLIT_CAPTIONS_x.json beside it.

SPLIT is TRAIN, VAL or TEST. SPLIT_IMAGES_x.hdf5 holds pictures without names, which are written to
the image folder as train_000000.png and so on, where they are not there yet.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from eval.files import read_json, whole_file
from prepro.annotations.records import ImageRecord, StoredVocabulary
from prepro.annotations.validation import Report
from prepro.images import MAX_SIDE
from prepro.runtime.progress_bar import ProgressBar

ACCEPTS = "a JSON object of words with <start>, <end> and <pad>"
SPLITS = ("TRAIN", "VAL", "TEST")
SPECIAL = {"<start>", "<end>", "<pad>"}


def matches(path: Path, value: object) -> bool:
    return isinstance(value, dict) and value.keys() >= SPECIAL


def vocabulary(path: Path, value: dict) -> StoredVocabulary:
    """Words keep their numbers; <unk> becomes UNK."""
    words = {number: word for word, number in value.items() if word not in SPECIAL}
    found = [words.get(number) for number in range(1, len(words) + 1)]
    if None in found:
        raise ValueError(f"{path}: no word has the number {found.index(None) + 1}")
    longest = max(
        (len(caption) - 2 for split in SPLITS for caption in _captions(path, split)), default=1
    )
    return StoredVocabulary(tuple("UNK" if word == "<unk>" else word for word in found), longest)


def read(path: Path, value: dict, report: Report) -> Iterator[ImageRecord]:
    """FileNotFoundError without TRAIN_CAPTIONS_x.json; the other splits may be missing."""
    words = {number: word for word, number in value.items() if word not in SPECIAL}
    words = {number: "UNK" if word == "<unk>" else word for number, word in words.items()}
    special = {value[name] for name in SPECIAL}
    if not _sibling(path, "TRAIN", "CAPTIONS").is_file():
        raise FileNotFoundError(f"{path}: needs {_sibling(path, 'TRAIN', 'CAPTIONS').name}")
    for split in SPLITS:
        captions, count = _captions(path, split), _captions_per_image(path, split)
        if len(captions) % count:
            raise ValueError(f"{path}: {len(captions)} captions of {split}, not {count} a picture")
        for first in range(0, len(captions), count):
            tokens = tuple(
                tuple(words[number] for number in caption if number not in special)
                for caption in captions[first : first + count]
            )
            name = _picture_name(split, first // count)
            texts = tuple(map(" ".join, tokens))
            yield ImageRecord(name.stem, name.name, split.lower(), texts, tokens)


def unpack_pictures(path: Path, folder: Path) -> None:
    """Write the pictures that `folder` lacks. ValueError for an HDF5 file of other values."""
    for split in SPLITS:
        source = _sibling(path, split, "IMAGES")
        if not source.is_file():
            continue
        try:
            with h5py.File(source, "r", locking=False) as file:
                _unpack(file, source, split, folder)
        except OSError as error:
            raise ValueError(f"{source}: cannot be read ({error})") from None


def _unpack(file: h5py.File, source: Path, split: str, folder: Path) -> None:
    is_own = isinstance(file.get("images", getlink=True), h5py.HardLink)
    images = file["images"] if is_own else None
    if not isinstance(images, h5py.Dataset) or images.external or images.dtype != np.uint8:
        raise ValueError(f"{source}: no dataset 'images' of bytes")
    if images.ndim != 4 or images.shape[1] != 3 or not 0 < max(images.shape[2:]) <= MAX_SIDE:
        raise ValueError(f"{source}: images of shape {images.shape}, expected (N, 3, H, W)")
    with ProgressBar(len(images), f"pictures {split.lower()}") as progress:
        for index in range(len(images)):
            target = folder / _picture_name(split, index)
            if not target.is_file():
                with whole_file(target) as partial:
                    Image.fromarray(images[index].transpose(1, 2, 0)).save(partial, "PNG")
            progress.add(1)


def _picture_name(split: str, index: int) -> Path:
    return Path(f"{split.lower()}_{index:06d}.png")


def _sibling(path: Path, split: str, kind: str) -> Path:
    name = path.name.replace("WORDMAP", f"{split}_{kind}", 1)
    return path.with_name(name).with_suffix(".hdf5" if kind == "IMAGES" else ".json")


def _captions(path: Path, split: str) -> list[list[int]]:
    source = _sibling(path, split, "CAPTIONS")
    return read_json(source) if source.is_file() else []


def _captions_per_image(path: Path, split: str) -> int:
    """From the files' name, or else from the HDF5 file's attribute."""
    named = re.search(r"_(\d{1,4})_cap_per_img", path.name)
    if named and int(named[1]):
        return int(named[1])
    source = _sibling(path, split, "IMAGES")
    if not source.is_file():
        return 1 if not _captions(path, split) else _unknown_count(path)
    with h5py.File(source, "r", locking=False) as file:
        return int(file.attrs.get("captions_per_image", 0)) or _unknown_count(path)


def _unknown_count(path: Path) -> int:
    raise ValueError(
        f"{path}: how many captions has a picture? its name lacks N_cap_per_img, as in "
        "WORDMAP_coco_5_cap_per_img_5_min_word_freq.json"
    )
