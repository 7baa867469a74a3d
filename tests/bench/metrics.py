"""How long scoring takes, beside coco-caption's own tools on the same captions.

    python -m tests.bench.metrics [--official]

In: real captions of COCO val2017 where ../shared is (or CAPTION_SHARED says), else made-up ones;
words are swapped at random until there are 5,000 and 40,504 images of 5 references and a candidate.
Out: seconds and images/s for each part; with --official, where Java and pycocoevalcap are, the same
for them (without METEOR and SPICE; a minute and a half), how many times faster ours is, and the
largest difference of any score.

The bound is the time that Python takes to split all captions at spaces and look every piece up in
a dictionary once: no tokenizer in Python can do less.
"""

import argparse
import itertools
import json
import random
import shutil
import statistics
import time
from collections.abc import Callable

from eval import tokenizer
from eval.metrics.bleu import bleu
from eval.metrics.cider import cider, cider_d
from eval.metrics.ngram_counts import Pairs
from eval.metrics.rouge import rouge_l
from eval.scoring import score
from tests.conftest import shared_folder

SIZES = ((5_000, 5), (40_504, 3))  # images, runs of which the median counts


def captions(images: int, seed: int = 0) -> tuple[dict[int, list[str]], dict[int, str]]:
    """References and candidates by image id; one word in seven is another caption's."""
    rng = random.Random(seed)
    real = list(_sources(rng).values())
    words = [word for several in real for caption in several for word in caption.split()]

    def swapped(caption: str) -> str:
        return " ".join(w if rng.random() > 0.15 else rng.choice(words) for w in caption.split())

    references, candidates = {}, {}
    for image in range(images):
        source = real[image % len(real)]
        several = source if image < len(real) else [swapped(caption) for caption in source]
        references[image] = several
        candidates[image] = swapped(rng.choice(source))
    return references, candidates


def _sources(rng: random.Random) -> dict[object, list[str]]:
    folder = shared_folder()
    if folder and (path := folder / "data/coco/captions_val2017_2500.json").exists():
        found: dict[object, list[str]] = {}
        for entry in json.loads(path.read_text())["annotations"]:
            found.setdefault(entry["image_id"], []).append(entry["caption"].strip())
        return {image: several[:5] for image, several in found.items()}
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["a", "the", *map("".join, itertools.product(letters, "aeiou", "lmnrst"))]
    words += [first + second for first in words[2:82] for second in words[2:82]]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return {
        image: [" ".join(rng.choices(words, weights, k=11)).capitalize() + " ." for _ in range(5)]
        for image in range(2500)
    }


def ours(references: dict, candidates: dict) -> dict[str, float]:
    """Seconds by part."""
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable):
        start = time.perf_counter()
        result = work()
        seconds[part] = time.perf_counter() - start
        return result

    tokenizer._MEMO.clear()
    tokens = timed(
        "tokenise",
        lambda: (
            [tokenizer.tokenize_corpus(several) for several in references.values()],
            tokenizer.tokenize_corpus(list(candidates.values())),
        ),
    )
    pairs = Pairs(tuple(references), *tokens)
    timed("encode", lambda: (pairs.whole, pairs.text))
    timed("n-grams", lambda: pairs.grams(1))
    timed("BLEU", lambda: bleu(pairs))
    timed("ROUGE-L", lambda: rouge_l(pairs))
    timed("CIDEr-D", lambda: cider_d(pairs))
    timed("CIDEr", lambda: cider(pairs))
    return seconds


def official(references: dict, candidates: dict) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by part and scores by metric of pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    start = time.perf_counter()
    truth = {i: [{"caption": c} for c in several] for i, several in references.items()}
    truth = PTBTokenizer().tokenize(truth)
    results = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in candidates.items()})
    seconds, scores = {"tokenise": time.perf_counter() - start}, {}
    for part, scorer in (("BLEU", Bleu(4)), ("ROUGE-L", Rouge()), ("CIDEr-D", Cider())):
        start = time.perf_counter()
        options = {"verbose": 0} if part == "BLEU" else {}
        found, _ = scorer.compute_score(truth, results, **options)
        seconds[part] = time.perf_counter() - start
        several = {f"BLEU-{n}": score for n, score in enumerate(found, 1)} if options else {}
        scores |= several or {part: found}
    return seconds, scores


def bound(references: dict, candidates: dict) -> float:
    """Seconds to look every piece of text up once."""
    lines = [c for several in references.values() for c in several] + list(candidates.values())
    known = {piece: [piece] for line in lines for piece in line.split(" ")}
    start = time.perf_counter()
    for line in lines:
        words: list[str] = []
        for piece in line.split(" "):
            words += known[piece]
    return time.perf_counter() - start


def show(name: str, images: int, seconds: dict[str, float]) -> float:
    total = sum(seconds.values())
    parts = ", ".join(f"{part} {value:.2f}" for part, value in seconds.items())
    print(f"  {name:<14}{total:7.2f} s {images / total:9.0f} images/s   ({parts})", flush=True)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", action="store_true", help="time pycocoevalcap too")
    wanted = parser.parse_args().official
    if wanted and not shutil.which("java"):
        print("no java: pycocoevalcap is left out")
        wanted = False
    for images, runs in SIZES:
        data = captions(images)
        kind = "real" if shared_folder() else "made-up"
        print(f"{images:,} images x 5 references, {kind} captions, median of {runs}")
        timings = [ours(*data) for _ in range(runs)]
        seconds = sorted(timings, key=lambda run: sum(run.values()))[len(timings) // 2]
        total = show("ours", images, seconds)
        least = statistics.median(bound(*data) for _ in range(3))
        print(
            f"  tokenise against its bound: {least:.2f} s, {seconds['tokenise'] / least:.1f} times"
        )
        if wanted:
            theirs, truth = official(*data)
            slow = show("pycocoevalcap", images, theirs)
            scores = score(*data, coco_exact=True).corpus
            off = max(abs(scores[name] - value) for name, value in truth.items())
            print(
                f"  {slow / total:.1f} times faster; largest difference with coco_exact {off:.1e}"
            )


if __name__ == "__main__":
    main()
