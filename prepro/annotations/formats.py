"""One reader for each annotation format that people have; every one yields ImageRecords.

coco      {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
karpathy  {"images": [{"filename", "split", "sentences": [{"raw"}]}], "dataset"}
flickr    name.jpg#0<TAB>caption, one a line (Flickr8k.token.txt, results_20130124.token)
folder    captions.csv (columns image and caption) or captions.jsonl beside the pictures
raw       neuraltalk2's [{"file_path", "captions", "id"}]
cocotalk  neuraltalk2's cocotalk.json with cocotalk_label.h5 beside it
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from eval.files import read_json
from prepro.annotations.records import ImageRecord
from prepro.annotations.validation import Report

FILE_KEYS = ("file_path", "file_name", "filename", "image", "image_name", "file", "path")
CAPTION_KEYS = ("caption", "captions", "comment", "text")


def read_file(path: Path, format: str, report: Report) -> list[ImageRecord]:
    """The records of one file. ValueError names the file, and the keys that were expected."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name the file of captions in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    if path.suffix == ".json":
        return _read_json(path, format, report)
    with open(path, "rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise ValueError(f"{path}: a Git LFS pointer, not the data; run `git lfs pull`")
    try:
        reader = _token_file if _is_token_file(path) else _table
        if format not in ("auto", {_token_file: "flickr", _table: "folder"}[reader]):
            raise ValueError(f"{path}: not a file in the format {format}")
        return reader(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _read_json(path: Path, format: str, report: Report) -> list[ImageRecord]:
    value = read_json(path)
    reader = _shape(value)
    if reader is None:
        keys = ", ".join(map(repr, list(value)[:5])) if isinstance(value, dict) else "no object"
        raise ValueError(
            f"{path}: neither COCO captions (images, annotations), Karpathy (images with "
            f"sentences), cocotalk (images, ix_to_word) nor a list of {{file_path, captions}}; "
            f"its keys are {keys}"
        )
    found = reader.__name__.strip("_")
    if format not in ("auto", found) and (format, found) != ("cocotalk", "raw"):
        raise ValueError(f"{path}: asked for the format {format}, but this is {found}")
    try:
        if reader is _coco:
            report.error("captions of images that are not image_paths", _orphans(value))
        return list(reader(value, path))
    except KeyError as error:
        raise ValueError(f"{path}: a {found} entry lacks or misspells {error}") from None
    except (TypeError, AttributeError):
        raise ValueError(f"{path}: a {found} entry is not the object that it should be") from None


def _shape(value: object) -> Callable[[object, Path], Iterator[ImageRecord]] | None:
    """Which reader fits, by the keys at the top and in the first image."""
    if isinstance(value, list):
        return _raw
    if not isinstance(value, dict) or not isinstance(value.get("images"), list):
        return None
    if "annotations" in value:
        return _coco
    if "ix_to_word" in value:
        return _cocotalk
    first = value["images"][0] if value["images"] else None
    return _karpathy if isinstance(first, dict) and "sentences" in first else None


def _coco(value: dict, path: Path) -> Iterator[ImageRecord]:
    captions: dict[int | str, list[str]] = {image["id"]: [] for image in value["images"]}
    strangers: list[str] = []
    for annotation in value["annotations"]:
        captions.get(annotation["image_id"], strangers).append(annotation["caption"])
    for image in value["images"]:
        yield ImageRecord(
            image["id"], image["file_name"], image.get("split", ""), tuple(captions[image["id"]])
        )


def _orphans(value: dict) -> Iterator[str]:
    image_paths = {image["id"] for image in value["images"]}
    return (
        f"image {annotation['image_id']}"
        for annotation in value["annotations"]
        if annotation["image_id"] not in image_paths
    )


def _karpathy(value: dict, path: Path) -> Iterator[ImageRecord]:
    for image in value["images"]:
        name = image["filename"]
        folder = image.get("filepath", "")
        yield ImageRecord(
            image.get("cocoid", image.get("imgid", name)),
            f"{folder}/{name}" if folder else name,
            image["split"],
            tuple(sentence["raw"] for sentence in image["sentences"]),
        )


def _raw(value: list, path: Path) -> Iterator[ImageRecord]:
    for image in value:
        name, said = image["file_path"], image["captions"]
        captions = (said,) if isinstance(said, str) else tuple(said)
        yield ImageRecord(image.get("id", name), name, image.get("split", ""), captions)


def _cocotalk(value: dict, path: Path) -> Iterator[ImageRecord]:
    """neuraltalk2 keeps words only as numbers, in an HDF5 file beside the JSON."""
    import h5py

    candidates = [path.with_name(path.stem + end) for end in ("_label.h5", ".h5", "_labels.h5")]
    labels_path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if labels_path is None:
        raise FileNotFoundError(f"{path}: needs {candidates[0].name} (or .h5) beside it")
    words = {int(index): word for index, word in value["ix_to_word"].items()}
    with h5py.File(labels_path, "r") as file:
        labels = file["labels"][:]
        first, last = file["label_start_ix"][:], file["label_end_ix"][:]
    for image, start, end in zip(value["images"], first, last, strict=True):
        rows = labels[int(start) - 1 : int(end)]  # 1-indexed and inclusive
        captions = (" ".join(words[int(index)] for index in row if index) for row in rows)
        yield ImageRecord(
            image.get("id", image["file_path"]), image["file_path"], image["split"], tuple(captions)
        )


def _is_token_file(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        head = file.readline(10_000).split("\t")[0]
    return head.rpartition("#")[2].strip().isdigit()


def _token_file(path: Path) -> list[ImageRecord]:
    captions: dict[str, list[str]] = {}
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            key, tab, caption = line.rstrip("\n").partition("\t")
            name, hash, _ = key.rpartition("#")
            if not tab or not hash:
                raise ValueError(f"{path}, line {number}: expected name.jpg#0<TAB>caption")
            captions.setdefault(name, []).append(caption)
    return [ImageRecord(Path(n).stem, n, "", tuple(c)) for n, c in captions.items()]


def _table(path: Path) -> list[ImageRecord]:
    """CSV (comma, tab, semicolon or |) with a header, or JSON lines; one or more captions a row."""
    rows = _json_lines(path) if path.suffix == ".jsonl" else _csv_rows(path)
    found: dict[str, ImageRecord] = {}
    for number, row in rows:
        name = next((row[key] for key in FILE_KEYS if row.get(key)), None)
        words = next((row[key] for key in CAPTION_KEYS if row.get(key) is not None), ())
        if not isinstance(name, str):
            raise ValueError(f"{path}, line {number}: no picture; expected a column {FILE_KEYS[0]}")
        if not isinstance(words, str | list | tuple):
            raise ValueError(f"{path}, line {number}: a caption that is no text")
        old = found.get(name)
        new = (words,) if isinstance(words, str) else tuple(words)
        found[name] = ImageRecord(
            row.get("id") or (old.id if old else name),
            name,
            row.get("split") or (old.split if old else ""),
            (old.captions if old else ()) + new,
        )
    return list(found.values())


def _json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{path}, line {number}: expected a JSON object")
                yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        delimiter = max(",\t;|", key=head.count)
        reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        names = [name.strip().lower() for name in reader.fieldnames or []]
        if not set(names) & set(FILE_KEYS) or not set(names) & set(CAPTION_KEYS):
            raise ValueError(f"{path}: expected a header with the columns image and caption")
        reader.fieldnames = names
        for row in reader:
            yield reader.line_num, {key: (value or "").strip() for key, value in row.items() if key}
