"""Captions from files and objects, by image id; and whether two sets of images agree.

In: references in COCO captions format, Karpathy's JSON, a Flickr token file or our labels.json; or
a `pycocotools.coco.COCO`. Results in COCO's format. Out: `{image id: [captions]}`, in the order of
the images in the file.

An id that is a number is an int, whether the file has 42, 42.0 or "42". Karpathy's images are known
by `cocoid`, else `imgid`; those of a Flickr token file by their file name.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval import label_rows
from eval.files import printable, read_json

CAPTION_LIMIT = 1_000_000  # characters; a longer text is not a caption
SHOWN = 5  # ids that a message names

Captions = dict[Hashable, list[str]]


def read_references(path: str | os.PathLike, split: str | None = None) -> Captions:
    """Reference captions by image id, of one split where the file has splits.

    For a Flickr token file, `split` is a file that lists the images. Raises ValueError, in one
    line, for a file in none of the four formats and for a split that is not there.
    """
    path = Path(path)
    if path.suffix.lower() in (".txt", ".token"):
        return _flickr(path, split)
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        if split is not None:
            raise ValueError(f"{path}: a COCO captions file has no splits; leave out --split")
        return _coco(content, path)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        return _with_splits(content["images"], split, path)
    if label_rows.are_beside(path, content):
        return _with_splits(label_rows.read(path, split), split, path)
    raise ValueError(
        f"{path}: neither COCO captions (annotations: [{{image_id, caption}}]), Karpathy's JSON "
        "(images: [{sentences: [{raw}]}]), our labels.json nor a Flickr token file (.txt)"
    )


def _coco(content: dict, path: Path) -> Captions:
    found: Captions = {}
    for image in _list(content.get("images") or [], path):
        found[image_id(_field(image, "id", path), path)] = []
    for entry in content["annotations"]:
        image = image_id(_field(entry, "image_id", path), path)
        found.setdefault(image, []).append(_caption(_field(entry, "caption", path), image, path))
    return {image: captions for image, captions in found.items() if captions}


def _with_splits(images: list, split: str | None, path: Path) -> Captions:
    """Karpathy's `sentences: [{raw}]` and the `captions: [text]` of our labels.json."""
    found: Captions = {}
    for entry in images:
        if split is not None and _field(entry, "split", path) != split:
            continue
        name = next((key for key in ("cocoid", "id", "imgid") if _has(entry, key)), "filename")
        image = image_id(_field(entry, name, path), path)
        if _has(entry, "captions"):
            captions = _list(entry["captions"], path)
        else:
            sentences = _list(_field(entry, "sentences", path), path)
            captions = [_field(sentence, "raw", path) for sentence in sentences]
        found[image] = [_caption(caption, image, path) for caption in captions]
    if not found:
        splits = sorted({str(entry.get("split")) for entry in images}) or ["no images"]
        raise ValueError(f"{path}: no image of split {split!r}; it has {', '.join(splits)}")
    return found


def split_names(path: str | os.PathLike) -> list[str]:
    """The splits that Karpathy's JSON or our labels.json names; none for other files."""
    content = read_json(path) if Path(path).suffix.lower() == ".json" else {}
    images = content.get("images") if isinstance(content, dict) else None
    if label_rows.are_beside(Path(path), content):
        return label_rows.split_names(Path(path))
    named = {entry.get("split") for entry in images or [] if isinstance(entry, dict)}
    return sorted(name for name in named if isinstance(name, str))


def _flickr(path: Path, split: str | None) -> Captions:
    """`<file>#<number>TAB<caption>` a line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    wanted = None if split is None else set(Path(split).read_text(encoding="utf-8").split())
    found: Captions = {}
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    for number, line in enumerate(lines, 1):
        name, tab, caption = line.rstrip("\r").partition("\t")
        image, mark, _ = name.rpartition("#")
        if line.strip() and not (tab and mark):
            raise ValueError(f"{path}, line {number}: not <file>#<number>TAB<caption>")
        if mark and (wanted is None or image in wanted):
            found.setdefault(image_id(image), []).append(_caption(caption, image, path))
    return found


@dataclass(frozen=True)
class Results:
    """Generated captions by image id, the first one where an id occurs more than once."""

    captions: dict[Hashable, str]
    duplicates: tuple[Hashable, ...]


def read_results(path: str | os.PathLike) -> Results:
    """Results in COCO's format, `[{"image_id": .., "caption": ".."}]`; ValueError otherwise."""
    several = read_several(path)
    repeated = (image for image, captions in several.items() if len(captions) > 1)
    return Results({image: captions[0] for image, captions in several.items()}, tuple(repeated))


def read_several(path: str | os.PathLike) -> Captions:
    """Results in COCO's format, where an image may have several entries."""
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path}: not a list of {{image_id, caption}}, as COCO's results are")
    found: Captions = {}
    for entry in content:
        image = image_id(_field(entry, "image_id", path), path)
        found.setdefault(image, []).append(_caption(_field(entry, "caption", path), image, path))
    return found


def image_id(value: object, where: object = "captions") -> Hashable:
    """The id, a number as an int however it is spelled."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and str(int(value[:20])) == value else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where}: {value!r} is not an image id (a number or a text)")
    return value


def _has(entry: object, name: str) -> bool:
    return isinstance(entry, dict) and name in entry


def _list(value: object, where: object) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{where}: {repr(value)[:60]} is not a list")
    return value


def _field(entry: object, name: str, where: object) -> object:
    if not _has(entry, name):
        text = repr(entry)
        raise ValueError(f"{where}: an entry without {name!r}: {text[:60]}")
    return entry[name]


def _caption(caption: object, image: Hashable, where: object) -> str:
    if not isinstance(caption, str):
        raise ValueError(
            f"{where}: the caption of image {image!r} is {repr(caption)[:40]}, not a text"
        )
    if len(caption) > CAPTION_LIMIT:
        raise ValueError(
            f"{where}: a caption of {len(caption):,} characters (image {image!r}); "
            f"more than {CAPTION_LIMIT:,} are not scored"
        )
    return caption


def captions_of(source: Mapping | object) -> Mapping[Hashable, str | Sequence[str]]:
    """`source` itself, or the captions by image id of a `pycocotools.coco.COCO`."""
    if not hasattr(source, "imgToAnns"):
        return source
    ids = [image for image in source.getImgIds() if source.imgToAnns[image]]
    return {image: [entry["caption"] for entry in source.imgToAnns[image]] for image in ids}


def disagreement(references: Iterable, candidates: Iterable, duplicates: Iterable) -> list[str]:
    """What keeps two sets of ids from being the same images, a line each; [] when nothing does."""
    references, candidates = dict.fromkeys(references), dict.fromkeys(candidates)
    missing = [image for image in references if image not in candidates]
    extra = [image for image in candidates if image not in references]
    return [
        f"{len(ids):,} image{'s' * (len(ids) > 1)} {what}: {some(ids)}"
        for ids, what in (
            (missing, "without a caption"),
            (extra, "without references"),
            (list(duplicates), "with several captions"),
        )
        if ids
    ]


def some(ids: Sequence[Hashable]) -> str:
    """The first few ids, and how many more there are."""
    more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
    return ", ".join(map(printable, ids[:SHOWN])) + more
