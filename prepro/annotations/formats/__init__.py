"""Annotation formats: every module here reads one, and --format takes the modules' names.

A format is one file with these names:

    ACCEPTS   a phrase for messages: what a file of the format holds
    matches   (path, value) -> bool: whether the file has this format; `value` is the parsed content
              of a .json file, and None for every other file
    read      (path, value, report) -> an iterable of ImageRecord; defects of single entries go into
              `report`, and ValueError says that the file cannot be read

A format that stores captions as numbers also has `vocabulary`: (path, value) -> StoredVocabulary,
and ImageRecord.tokens. One that stores pictures has `unpack_pictures`: (path, folder) -> None.
"""

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from eval.files import read_json
from prepro.annotations.records import ImageRecord, StoredVocabulary
from prepro.annotations.validation import Report
from prepro.remote import RemotePath

LFS_POINTER = b"version https://git-lfs"  # a file that Git LFS has not downloaded begins so


def format_names() -> tuple[str, ...]:
    """The choices of --format, "auto" first; imports no reader."""
    return ("auto", *sorted(module.name for module in pkgutil.iter_modules(__path__)))


def read_file(path: Path, format: str, report: Report) -> list[ImageRecord]:
    """The records of one file; defects of its entries go into `report`.

    format: a name of format_names(); "auto" takes the format that matches.
    Raises FileNotFoundError, or ValueError that names the file and the formats.
    """
    _check_file(path)
    value = read_json(path) if path.suffix == ".json" else None
    try:
        name, reader = _find_reader(path, value, format)
        return list(reader.read(path, value, report))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except KeyError as error:
        raise ValueError(f"{path}: a {name} entry lacks or misspells {error}") from None
    except (TypeError, AttributeError):
        raise ValueError(f"{path}: a {name} entry has a value of the wrong type") from None


def read_vocabulary(path: Path, format: str) -> StoredVocabulary | None:
    """The vocabulary of a file that `read_file` has read; None in most formats."""
    if path.suffix != ".json":
        return None
    value = read_json(path)
    reader = _find_reader(path, value, format)[1]
    return reader.vocabulary(path, value) if hasattr(reader, "vocabulary") else None


def unpack_pictures(path: Path, format: str, folder: Path) -> None:
    """Write the pictures that an annotation file comes with into `folder`, if it has any."""
    if path.suffix != ".json":
        return
    reader = _find_reader(path, read_json(path), format)[1]
    if hasattr(reader, "unpack_pictures"):
        if isinstance(folder, RemotePath):
            raise ValueError(f"{folder}: pictures are written to --images; name a local folder")
        reader.unpack_pictures(path, folder)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name the file of captions in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    with open(path, "rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path}: a Git LFS pointer, not the data; run `git lfs pull`")


def _find_reader(path: Path, value: object, format: str) -> tuple[str, ModuleType]:
    """The name and the module of the format that matches the file."""
    readers = {n: importlib.import_module(f"{__name__}.{n}") for n in format_names()[1:]}
    found = next((name for name in readers if readers[name].matches(path, value)), None)
    if found is None:
        keys = ", ".join(map(repr, list(value)[:5])) if isinstance(value, dict) else "no object"
        accepted = "; ".join(f"{name}: {readers[name].ACCEPTS}" for name in readers)
        what = f"its keys are {keys}" if path.suffix == ".json" else "it is no JSON"
        raise ValueError(f"{path}: matches no annotation format ({accepted}); {what}")
    if format not in ("auto", found) and found not in getattr(readers[format], "INCLUDES", ()):
        raise ValueError(f"{path}: asked for the format {format}, but this is {found}")
    return found, readers[found]
