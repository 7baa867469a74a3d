"""COCO captions: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}."""

from collections.abc import Iterator
from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

ACCEPTS = "a JSON object with images and annotations"


def matches(path: Path, value: object) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("images"), list) and "annotations" in value
    )


def read(path: Path, value: dict, report: Report) -> Iterator[ImageRecord]:
    """Captions keep the file's order; an image may have a `split`."""
    captions: dict[int | str, list[str]] = {image["id"]: [] for image in value["images"]}
    unknown = []
    for annotation in value["annotations"]:
        image_id = annotation["image_id"]
        if image_id in captions:
            captions[image_id].append(annotation["caption"])
        else:
            unknown.append(f"image {image_id}")
    report.error("captions of images that are not listed", unknown)
    for image in value["images"]:
        yield ImageRecord(
            image["id"], image["file_name"], image.get("split", ""), tuple(captions[image["id"]])
        )
