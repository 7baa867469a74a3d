"""What COCO's test server takes: the name of the file, and ids that are integers.

In: pictures called as COCO calls them. Out: captions_SET_ALGORITHM_results.json, and for each
picture the number in its name. https://cocodataset.org/#captions-eval
"""

import re
from collections.abc import Sequence
from pathlib import Path

SET = re.compile(r"(?:train|val|test)20\d\d")
NUMBER = re.compile(r"\d+$")


def name(out: Path, paths: Sequence[Path], algorithm: str) -> Path:
    """The file in the folder of `out`; the set is in the pictures' names, or their folder's.

    ValueError for pictures of no set or of several, and for a name that could not be a file's.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", algorithm):
        raise ValueError(f"--coco {algorithm}: expected letters, digits, dots and dashes")
    sets = {_set(path) for path in paths}
    if None in sets:
        odd = next(path for path in paths if _set(path) is None)
        raise ValueError(
            f"--coco: {odd} is of no set such as test2014, by its name or its folder's"
        )
    if len(sets) > 1:
        raise ValueError(
            f"--coco: the server takes one set, these are of {', '.join(sorted(sets))}"
        )
    return out.with_name(f"captions_{sets.pop()}_{algorithm}_results.json")


def number(path: Path) -> int:
    """COCO_val2014_000000000042.jpg is 42. ValueError for a name without a number."""
    found = NUMBER.search(path.stem)
    if not found:
        raise ValueError(f"--coco: {path} has no number at the end of its name")
    return int(found[0])


def _set(path: Path) -> str | None:
    found = SET.search(path.name) or SET.search(path.parent.name)
    return found[0] if found else None
