"""The golden cases of the official tool, one by one; see shared/golden/README.md."""

import json
from collections.abc import Iterator
from pathlib import Path

NAMES = {"CIDEr-D": "CIDEr", "CIDEr": "CIDEr_plain", "ROUGE-L": "ROUGE_L"}
NAMES |= {f"BLEU-{n}": f"Bleu_{n}" for n in range(1, 5)}  # ours, and what the golden files say


def cases(shared: Path) -> Iterator[tuple[str, dict]]:
    """Name and content of each case, its references filled in."""
    for path in sorted((shared / "golden").glob("*.json")):
        content = json.loads(path.read_text())
        source = path.name.split("_")[0]
        if path.name.endswith("_special.json"):
            yield from ((f"{source} {name}", case) for name, case in content["cases"].items())
        elif "per_image" in content:
            if "refs_tok" not in content:
                every = "all_" if path.name.endswith("_perfect.json") else ""
                shared_refs = references(shared, source)
                content["refs_tok"] = shared_refs[f"{every}refs_tok"]
                content["refs_raw"] = shared_refs[f"{every}refs_raw"]
            yield path.stem, content


def references(shared: Path, source: str) -> dict:
    """The references that the cases of a source share."""
    return json.loads((shared / "golden" / f"{source}_refs_loo.json").read_text())


def words(tokenised: str) -> list[str]:
    """The official tool's tokens of a line."""
    return tokenised.split(" ") if tokenised else []
