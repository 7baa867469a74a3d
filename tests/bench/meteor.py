"""How long METEOR takes, and how much memory, beside METEOR's jar on the same captions.

    python -m tests.bench.meteor

In: the tokenised captions of tests.bench.metrics, 5,000 images of 5 references and a candidate.
Out: seconds, images/s, seconds of CPU and peak memory, of a process of its own from its start to
the score; with Java and pycocoevalcap the same for the jar, whose time includes the start of Java,
and the largest difference of an image's score. Medians of three interleaved runs.

The bound is the time that Python takes to intersect the words of each candidate with those of each
of its references: exact matches alone, without an alignment.
"""

import resource
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np

from eval.metrics.ngram_counts import Pairs, pair
from tests.bench.metrics import captions

IMAGES, RUNS = 5_000, 3


class Run(NamedTuple):
    """The scores of the images, and what they cost."""

    scores: np.ndarray  # (N,)
    cpu: float  # seconds
    memory: float  # GiB at the peak
    seconds: float = 0.0


def ours(pairs: Pairs) -> Run:
    from eval.metrics.meteor import meteor

    return _run(meteor(pairs).per_image, resource.RUSAGE_SELF)


def official(pairs: Pairs) -> Run:
    from pycocoevalcap.meteor.meteor import Meteor

    references, candidates = {}, {}
    for image, (several, candidate) in zip(pairs.ids, pairs.by_image(), strict=True):
        references[image] = [" ".join(words) for words in several]
        candidates[image] = [" ".join(candidate)]
    program = Meteor()
    _, found = program.compute_score(references, candidates)
    program.meteor_p.kill()
    program.meteor_p.wait()
    return _run(np.array(found), resource.RUSAGE_CHILDREN)


def _run(scores: np.ndarray, who: int) -> Run:
    used = resource.getrusage(who)
    return Run(scores, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def bound(pairs: Pairs) -> float:
    """Seconds to find the words that are in both captions of every pair."""
    start = time.perf_counter()
    for several, candidate in pairs.by_image():
        words = set(candidate)
        for reference in several:
            words & set(reference)
    return time.perf_counter() - start


def timed(work: Callable[[Pairs], Run], pairs: Pairs) -> Run:
    """The work in a process of its own."""
    start = time.perf_counter()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        run = pool.submit(work, pairs).result()
    return run._replace(seconds=time.perf_counter() - start)


def main() -> None:
    pairs = pair(*captions(IMAGES))
    systems = {"ours": ours}
    if shutil.which("java"):
        systems["the jar"] = official
    else:
        print("no java: the jar is left out")
    ours(pairs)  # the first use writes the index
    runs = {name: [] for name in systems}
    for _ in range(RUNS):
        for name, work in systems.items():
            runs[name].append(timed(work, pairs))
    print(f"{IMAGES:,} images x 5 references, median of {RUNS}")
    seconds = {
        name: statistics.median(r.seconds for r in several) for name, several in runs.items()
    }
    for name, several in runs.items():
        cpu, memory = (
            statistics.median(column) for column in list(zip(*several, strict=True))[1:3]
        )
        rate = IMAGES / seconds[name]
        print(
            f"  {name:<8}{seconds[name]:7.2f} s {rate:7.0f} images/s, {cpu:7.2f} s of CPU, "
            f"{memory:.2f} GiB"
        )
    least = statistics.median(bound(pairs) for _ in range(RUNS))
    print(f"  bound   {least:7.2f} s; ours takes {seconds['ours'] / least:.0f} times as long")
    if "the jar" in runs:
        off = np.abs(runs["ours"][0].scores - runs["the jar"][0].scores).max()
        ratio = seconds["the jar"] / seconds["ours"]
        print(f"  {ratio:.1f} times faster than the jar; largest difference of a score {off:.1e}")


if __name__ == "__main__":
    main()
