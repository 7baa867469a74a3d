"""What a results file was made from, in a small file beside it: results.about.json.

COCO's results format is a bare list and has no room for it. The file beside it holds the hash of
the results file, the hash of the captions and splits of the data folder, that of each model, and
the identity of the features (prepro/storage/feature_identity.py), or a hash of the pictures' bytes
where they were encoded for it. eval.score and caption.report refuse results that do not belong to
the data or the model. A results file without such a file, or that has changed since, is read with a
warning.
"""

import hashlib
import sys
from pathlib import Path

from eval.files import read_json, write_json


def about_file(results: Path) -> Path:
    """The path of the file beside `results`."""
    return results.with_suffix(".about.json")


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_about(results: Path, captions: str | None, models: list[str], more: dict) -> None:
    """Write the file beside `results`. `captions` and `models` are SHA-256 hashes."""
    if results.is_file():  # not a pipe or a device
        about = {"results": file_sha256(results), "captions": captions, "models": models, **more}
        write_json(about_file(results), about, indent=1)


def read_about(results: Path) -> dict:
    """What write_about wrote; {} if there is none or if the results file has changed since."""
    path = about_file(results)
    if not path.is_file():
        return {}
    about = read_json(path)
    known = isinstance(about, dict) and about.get("results") == file_sha256(results)
    return about if known else {}


def require_captions(results: Path, source: Path) -> None:
    """ValueError if `results` were made for other captions or splits than those of `source`.

    Only a labels.json has a hash of its captions; other references fit all results.
    """
    if source.suffix != ".json":
        return
    content, about = read_json(source), read_about(results)
    captions = content.get("captions_sha256") if isinstance(content, dict) else None
    if captions and "captions" not in about:
        print(
            f"{results}: without the hash of the captions that it was made for; caption.generate "
            f"writes it into {about_file(results).name}", file=sys.stderr,
        )  # fmt: skip
    elif None not in (captions, about.get("captions")) and captions != about["captions"]:
        raise ValueError(
            f"{results}: made for other captions or splits than those of {source}; run "
            "caption.generate again, or score against the data folder that it captioned"
        )


def require_model(results: Path, model: Path) -> None:
    """ValueError if `results` were made by another model than the file `model`."""
    models = read_about(results).get("models")
    if models and models != [file_sha256(model)]:
        raise ValueError(f"{results}: not made by {model} as it is now; run caption.generate again")
