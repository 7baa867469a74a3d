"""METEOR and SPICE by the official programs, where Java and the extra `java` are installed.

In: `Pairs`. Out: `Scores`, keyed by image id like all others. `Unavailable` says in one line why a
metric is left out; that is never a reason to fail.

The programs are those of pycocoevalcap, started here with what its wrappers lack: a fixed locale
(with a decimal comma their output cannot be read), an error stream that cannot fill up, a time
limit, temporary files outside the package, results joined by image and not by position. Denkowski,
Lavie: Meteor universal, WMT 2014. Anderson et al.: SPICE, ECCV 2016.
"""

import contextlib
import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

from eval.metrics.ngram_counts import Pairs, Scores

JAVA = ["java", "-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8"]
TIME_LIMIT = 3600  # seconds


class Unavailable(Exception):
    """A metric that cannot be computed here, and why."""


def meteor(pairs: Pairs, time_limit: float = TIME_LIMIT) -> Scores:
    """METEOR 1.5 in 0..1; the corpus score is METEOR's own aggregate, no mean."""
    folder = _package("METEOR") / "meteor"
    start = [*JAVA, "-Xmx2G", "-jar", "meteor-1.5.jar", *"- - -stdio -l en -norm".split()]
    with subprocess.Popen(
        start,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    ) as program:
        alarm = threading.Timer(time_limit, program.kill)
        alarm.start()
        try:
            return _converse(program, pairs)
        except (ValueError, BrokenPipeError):
            late, failed = f"no answer in {time_limit:g} s", "the program stopped or said no number"
            why = late if alarm.finished.is_set() else failed
            raise Unavailable(f"METEOR is left out: {why}") from None
        finally:
            alarm.cancel()
            program.kill()
            with contextlib.suppress(BrokenPipeError):
                program.stdin.close()


def _converse(program: subprocess.Popen, pairs: Pairs) -> Scores:
    """One question and one answer a caption, then one question for all."""

    def ask(*fields: str) -> str:
        program.stdin.write(" ||| ".join(fields) + "\n")
        program.stdin.flush()
        return program.stdout.readline().strip()

    texts = (
        [" ".join(words).replace("|||", "") for words in (*references, candidate)]
        for references, candidate in pairs.by_image()
    )
    statistics = [ask("SCORE", *captions) for captions in texts]
    first = float(ask("EVAL", *statistics))
    images = [first, *(float(program.stdout.readline()) for _ in statistics[1:])]
    return Scores(float(program.stdout.readline()), np.array(images))


def spice(pairs: Pairs, time_limit: float = TIME_LIMIT) -> Scores:
    """SPICE in 0..1, nan for an image it gives none; the corpus score is the mean of the others."""
    folder = _package("SPICE") / "spice"
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
    return Scores(float(np.nanmean(images)), images)


def _questions(pairs: Pairs) -> list[dict]:
    return [
        {"image_id": index, "test": " ".join(candidate), "refs": [" ".join(r) for r in references]}
        for index, (references, candidate) in enumerate(pairs.by_image())
    ]


def _package(metric: str) -> Path:
    """The folder of pycocoevalcap."""
    if not shutil.which("java"):
        raise Unavailable(f"{metric} is left out: there is no `java` on the PATH")
    found = importlib.util.find_spec("pycocoevalcap")
    if not found:
        raise Unavailable(f"{metric} is left out: install the extra `java` (pycocoevalcap)")
    return Path(found.submodule_search_locations[0])
