"""How fast the reward of self-critical training is, and what a whole step costs.

    python -m tests.bench.reward [--device cuda] [--images 113287]

Prints, on drawn captions of COCO's lengths (5 an image, vocabulary 9,487, phrases of Zipf's
frequencies, so that n-grams repeat; with --images 113287 of COCO's number too): time and memory of
document frequencies; captions/s of the reward, 50 images x 5 samples x 5 references, beside
pycocoevalcap's scorer, which also counts references anew in each batch as the common trainers do,
and beside the bound, the bare search and comparisons of the same sizes; captions/s of a whole step
of an FC decoder (newfc, 512 hidden, 16 words at most), 10 images x 5 samples, and the reward's
share of it. Pairs are timed in turns; medians. Seconds are the wall's; with one thread
(OMP_NUM_THREADS=1) they are the process's own, so that other programs count little.
"""

import math
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from eval import command

WORDS, LONGEST = 9_487, 16
EARLIER = 45
"""captions/s of self-critical.pytorch at 4c48a33, newfc, 10 images x 5 samples, two AVX2 cores"""


@dataclass(frozen=True)
class Options:
    """Speed of the reward and of a self-critical step, e.g. python -m tests.bench.reward."""

    images: int = 20_000
    """of the training split that document frequencies come from; COCO has 113,287"""
    runs: int = 5
    """timed runs of each, after one that is not"""
    device: str = "cpu"
    """where the model and the reward live"""


def main(options: Options) -> None:
    import torch

    from caption.training.reward import Reward
    from prepro.runtime.device import choose_device

    torch.manual_seed(0)
    labels = drawn_labels(options.images)
    choose_device(options.device)  # sets the process up as commands do
    before, start = peak(), now(options.device)
    reward = Reward.of(labels, options.device)
    seconds = now(options.device) - start
    print(f"{torch.get_num_threads()} threads, {options.device}")
    print(
        f"document frequencies  {options.images:,} images, {len(reward.weights.keys):,} n-grams: "
        f"{seconds:.1f} s, "
        f"{peak() - before:.2f} GB over the {before:.2f} GB of labels and libraries"
    )
    rewards(reward, labels, options)
    whole_step(reward, labels, options, 10)


def rewards(reward, labels, options: Options) -> None:
    """captions/s of the reward alone, of the common scorer and of the bound."""
    import numpy as np

    rows = np.random.default_rng(1).permutation(options.images)[:50]
    words = samples(labels, rows).to(options.device)
    works = [lambda: reward(rows, words), bare(reward, words)]
    if find_spec("pycocoevalcap"):  # the extra `java`
        works.append(common_scorer(reward, labels, rows, words.cpu()))
    ours, bound, *theirs = alternate(works, options)
    n = words.shape[0] * words.shape[1]
    print(
        f"reward                {n / ours:,.0f} captions/s; bound {n / bound:,.0f}, "
        f"{bound / ours:.0%} of it"
    )
    for seconds in theirs:
        far = np.abs(reward(rows, words).flatten().cpu().numpy() - works[-1]()).max()
        print(
            f"pycocoevalcap         {n / seconds:,.0f} captions/s; ours {seconds / ours:.1f}x as "
            f"fast (largest difference {far:.0e})"
        )


def whole_step(reward, labels, options: Options, images: int) -> None:
    """captions/s of sampling, reward, forward, backward and Adam."""
    import numpy as np
    import torch

    from caption.data.batches import Batch
    from caption.models import Features, Shape, build
    from caption.training.scst import SelfCritical

    decoder = build("newfc", Shape(WORDS + 1, 2048)).to(options.device)
    optimiser = torch.optim.Adam(decoder.parameters(), 5e-5, fused=True)
    loss = SelfCritical(reward, labels.vocabulary, max_length=LONGEST)
    rows = np.arange(images)
    words = samples(labels, rows).to(options.device)
    features = Features(torch.randn(images, 2048, device=options.device))
    some = Batch(rows, features, words, words, words > 0)

    def step() -> None:
        value, _ = loss(decoder, some, 1000)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_value_(decoder.parameters(), 0.1)
        optimiser.step()

    drawn = loss._draw(decoder, features, None)
    whole, part = alternate([step, lambda: reward(rows, drawn)], options)
    n = 5 * images
    print(
        f"step, newfc, {images} x 5    {n / whole:,.1f} captions/s (earlier system, wall, two "
        f"cores: {EARLIER}); the reward is {part / whole:.2%} of it"
    )


def drawn_labels(images: int):
    """Captions of COCO's number and lengths: three or four phrases of two to five words."""
    import numpy as np

    from prepro.annotations.records import ImageRecord
    from prepro.storage.label_file import Labels
    from prepro.vocabulary import Vocabulary

    rng = np.random.default_rng(0)
    phrases = 1 + zipf(rng, WORDS, (15_000, 5))
    phrases *= np.arange(5) < rng.integers(2, 6, (len(phrases), 1))
    chosen = phrases[zipf(rng, len(phrases), (5 * images, 4))]  # (M, 4, 5)
    chosen[:, 3] *= rng.random((len(chosen), 1)) < 0.5
    flat = chosen.reshape(len(chosen), -1)
    order = np.argsort(flat == 0, axis=1, kind="stable")
    table = np.take_along_axis(flat, order, 1)[:, :LONGEST].astype(np.uint32)
    records = tuple(ImageRecord(i, "", "train", ()) for i in range(images))
    ranges = np.arange(images)[:, None] * 5 + [0, 5]
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS)))
    return Labels(Path(), Path(), vocabulary, records, table, (table > 0).sum(1), ranges)


def zipf(rng, kinds: int, size: tuple[int, ...]):
    """Numbers below `kinds`, the k-th with a chance that falls as 1/k."""
    import numpy as np

    chance = np.cumsum(1 / np.arange(1, kinds + 1))
    return np.searchsorted(chance, rng.random(size) * chance[-1])


def samples(labels, rows):
    """(B, 5, T) int64: the images' own captions with three words in ten replaced."""
    import torch

    own = [torch.from_numpy(labels.labels[a:b].astype(int)) for a, b in labels.ranges[rows]]
    words = torch.stack(own)
    other = torch.randint(1, WORDS + 1, words.shape)
    return torch.where((torch.rand(words.shape) < 0.3) & (words > 0), other, words)


def common_scorer(reward, labels, rows, words) -> Callable[[], object]:
    """pycocoevalcap's CIDEr-D (250,) of the same captions with the same document frequencies."""
    import numpy as np
    import torch
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    references = [torch.from_numpy(labels.labels[a:b].astype(int)) for a, b in labels.ranges[rows]]
    frequency = dictionary(reward.weights, [*references, *words])

    class AllImages(list):
        """What the scorer takes its number of images from."""

        def __len__(self) -> int:
            return len(labels.records)

    def run() -> np.ndarray:
        scorer = CiderScorer()
        scorer.document_frequency, scorer.crefs = frequency, AllImages()
        for known, some in zip(references, words, strict=True):
            cooked = texts(known)
            for caption in texts(some):
                scorer += (caption, cooked)
        return np.array(scorer.compute_cider())

    return run


def dictionary(weights, captions) -> defaultdict:
    """The table as the common scorer holds it, tuples of words to the number of images.

    Only the n-grams of `captions`: quick to make, and quicker to look up in than the whole table.
    """
    import torch

    from caption.training.ngrams import gram_keys, with_end

    keys = [gram_keys(c, with_end(c), weights.base).flatten() for c in captions]
    there = torch.isin(weights.keys.cpu(), torch.cat(keys))
    known, worth = weights.keys.cpu()[there], weights.weights.cpu()[there]
    found: defaultdict = defaultdict(float)
    for key, weight in zip(known.tolist(), worth.tolist(), strict=True):
        gram: list[str] = []
        while key:
            key, digit = divmod(key, weights.base)
            gram.append(str(digit - 1))
        found[tuple(reversed(gram))] = round(math.exp(weights.unseen - weight))
    return found


def texts(words) -> list[str]:
    """Captions (K, T) as the common scorer takes them, the end a word."""
    from caption.training.ngrams import with_end

    lengths = with_end(words).tolist()
    return [" ".join(map(str, row[:n])) for row, n in zip(words.tolist(), lengths, strict=True)]


def bare(reward, words) -> Callable[[], None]:
    """A search for each n-gram of the captions and its comparison with those it may equal."""
    import torch

    b, k, t = words.shape
    keys = reward.weights.keys
    first = keys[torch.randint(len(keys), (4, b, k, 1, t, 1), device=words.device)]
    second = keys[torch.randint(len(keys), (4, b, 1, 5, 1, LONGEST), device=words.device)]
    query = first.flatten().sort().values

    def run() -> None:
        torch.searchsorted(keys, query)
        (first == second).sum(-1)
        (first == first.transpose(-1, -2)).sum(-1)

    return run


def alternate(works: list[Callable[[], object]], options: Options) -> list[float]:
    """The median seconds of each of `works`, timed in turns."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(options.runs + 1):
        for work, first in zip(works, times, strict=True):
            start = now(options.device)
            work()
            if run:
                first.append(now(options.device) - start)
    return [statistics.median(first) for first in times]


def now(device: str) -> float:
    """Seconds: the wall's, but of one thread the process's own."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def peak() -> float:
    """The most memory that this process ever had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
