"""How long METEOR takes, and how much memory, beside METEOR's jar on the same captions.

    python -m tests.bench.meteor

In: the tokenised captions of tests.bench.metrics, 5,000 images of 5 references and a candidate.
Out: seconds, images/s and peak memory, of a process of its own from its start to the score; with
Java and pycocoevalcap the same for the jar, whose time includes the start of Java, and the largest
difference of an image's score. Medians of three interleaved runs.

The bound is the time that Python takes to intersect the words of each candidate with those of each
of its references: exact matches alone, without an alignment.
"""

import resource
import shutil
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from eval.metrics.ngram_counts import Pairs, pair
from tests.bench.metrics import captions

IMAGES, RUNS = 5_000, 3


def ours(pairs: Pairs) -> tuple[np.ndarray, int]:
    """The scores of the images, and the peak memory in KiB."""
    from eval.metrics.meteor import meteor

    return meteor(pairs).per_image, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def official(pairs: Pairs) -> tuple[np.ndarray, int]:
    """The same by the jar."""
    from pycocoevalcap.meteor.meteor import Meteor

    references, candidates = {}, {}
    for image, (several, candidate) in zip(pairs.ids, pairs.by_image(), strict=True):
        references[image] = [" ".join(words) for words in several]
        candidates[image] = [" ".join(candidate)]
    program = Meteor()
    _, found = program.compute_score(references, candidates)
    program.meteor_p.kill()
    program.meteor_p.wait()
    return np.array(found), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def bound(pairs: Pairs) -> float:
    """Seconds to find the words that are in both captions of every pair."""
    start = time.perf_counter()
    for several, candidate in pairs.by_image():
        words = set(candidate)
        for reference in several:
            words & set(reference)
    return time.perf_counter() - start


def timed(work, pairs: Pairs) -> tuple[float, np.ndarray, int]:
    """Seconds, scores and memory of the work in a process of its own."""
    start = time.perf_counter()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        scores, memory = pool.submit(work, pairs).result()
    return time.perf_counter() - start, scores, memory


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
    seconds = {name: statistics.median(run[0] for run in several) for name, several in runs.items()}
    for name, taken in seconds.items():
        memory = statistics.median(run[2] for run in runs[name]) / 2**20
        print(f"  {name:<8}{taken:7.2f} s {IMAGES / taken:7.0f} images/s {memory:6.2f} GiB")
    least = statistics.median(bound(pairs) for _ in range(RUNS))
    print(f"  bound   {least:7.2f} s; ours takes {seconds['ours'] / least:.0f} times as long")
    if "the jar" in runs:
        off = np.abs(runs["ours"][0][1] - runs["the jar"][0][1]).max()
        ratio = seconds["the jar"] / seconds["ours"]
        print(f"  {ratio:.1f} times faster than the jar; largest difference of a score {off:.1e}")


if __name__ == "__main__":
    main()
