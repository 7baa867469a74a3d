"""Karpathy's dataset_*.json: {"images": [{"filename", "split", "sentences": [{"raw"}]}]}."""

from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

ACCEPTS = "a JSON object with images that have sentences"


def matches(path: Path, value: object) -> bool:
    images = value.get("images") if isinstance(value, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    others = {"annotations", "ix_to_word"}  # the keys of COCO captions and of cocotalk.json
    return isinstance(first, dict) and "sentences" in first and not others & value.keys()


def read(path: Path, value: dict, report: Report) -> Iterator[ImageRecord]:
    """The id is COCO's where the image has one, else the file's own."""
    for image in value["images"]:
        name = image["filename"]
        folder = image.get("filepath", "")
        yield ImageRecord(
            image.get("cocoid", image.get("imgid", name)),
            f"{folder}/{name}" if folder else name,
            image["split"],
            tuple(sentence["raw"] for sentence in image["sentences"]),
        )
