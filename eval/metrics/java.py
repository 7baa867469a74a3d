"""SPICE by the official program, where Java and the extra `java` are installed.

In: `Pairs`. Out: `Scores`, keyed by image id like all others. `Unavailable` says in one line why it
is left out; that is never a reason to fail.

The program is that of pycocoevalcap, started here with what its wrapper lacks: a fixed locale (with
a decimal comma its output cannot be read), an error stream that cannot fill up, a time limit,
temporary files outside the package, results joined by image and not by position. Anderson et al.:
SPICE, ECCV 2016.
"""

import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from eval.metrics.ngram_counts import Pairs, Scores
from eval.metrics.unavailable import Unavailable

JAVA = ["java", "-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8"]
TIME_LIMIT = 3600  # seconds


def spice(pairs: Pairs, time_limit: float = TIME_LIMIT) -> Scores:
    """SPICE in 0..1, nan for an image it gives none; the corpus score is the mean of the others."""
    folder = _package() / "spice"
    if not list(folder.glob("lib/stanford-corenlp-3.6.0-models*.jar")):
        raise Unavailable(
            "SPICE is left out: its models (384 MB) are not there; "
            "pycocoevalcap.spice.get_stanford_models.get_stanford_models() downloads them"
        )
    with tempfile.TemporaryDirectory() as work:
        Path(work, "in.json").write_text(json.dumps(_questions(pairs)))
        files = [f"{work}/in.json", "-cache", work, "-out", f"{work}/out.json"]
        start = [*JAVA, "-Xmx8G", "-jar", "spice-1.0.jar", *files, "-subset", "-silent"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            subprocess.run(start, cwd=folder, timeout=time_limit, check=True, **quiet)
            answers = json.loads(Path(work, "out.json").read_text())
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            raise Unavailable(f"SPICE is left out: {type(error).__name__} in its program") from None
    found = {answer["image_id"]: answer["scores"]["All"]["f"] for answer in answers}
    images = np.array([found.get(position, math.nan) for position in range(len(pairs.ids))], float)
    parts = np.stack([np.nan_to_num(images), ~np.isnan(images)], axis=1)  # (N, 2)
    return Scores(float(_mean(parts.sum(0))), images, parts, _mean)


def _mean(sums: np.ndarray) -> np.ndarray:
    """(...) of sums (..., 2) of scores and of images that have one."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _questions(pairs: Pairs) -> list[dict]:
    return [
        {"image_id": index, "test": " ".join(candidate), "refs": [" ".join(r) for r in references]}
        for index, (references, candidate) in enumerate(pairs.by_image())
    ]


def _package() -> Path:
    """The folder of pycocoevalcap."""
    if not shutil.which("java"):
        raise Unavailable("SPICE is left out: there is no `java` on the PATH")
    found = importlib.util.find_spec("pycocoevalcap")
    if not found:
        raise Unavailable("SPICE is left out: install the extra `java` (pycocoevalcap)")
    return Path(found.submodule_search_locations[0])
