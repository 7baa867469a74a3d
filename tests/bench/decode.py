"""Decoding speed: images/s, next to the decoder's own steps in the same run.

    python -m tests.bench.decode                     all decoders, two threads
    python -m tests.bench.decode topdown --regions 36 --threads 1

Real sizes: 50 images, 9,487 words, 512 units (the Transformer 6 + 6 layers), 2,048 channels. The
weights are random, so no caption ends before its 20 words: the longest run there is. "steps alone"
is the time inside begin and step; all else, reordering the state included, is the search. Target:
below 15 % on a CPU, 30 % on a GPU. "earlier" is self-critical.pytorch on a quiet machine with two
cores; it compares only with a quiet machine like that.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from caption.beams import Beams
from caption.decode_options import Sampling
from caption.models import DECODERS, Features, Shape, State, Step, build
from caption.sampling import greedy, sample
from caption.search import beam_search

BATCH, WORDS, CHANNELS, RUNS = 50, 9487, 2048, 5
EARLIER = {  # images/s; greedy, beam 5
    ("newfc", 36): {"greedy": 264, "beam 5": 13.5},
    ("topdown", 36): {"greedy": 99, "beam 5": 10.5},
    ("topdown", 196): {"greedy": 63, "beam 5": 7.0},
}
WAYS: dict[str, Callable] = {
    "greedy": greedy,
    "beam 5": lambda model, features: beam_search(model, features, Beams(5)),
    "sample x5": lambda model, features: sample(model, features, 5),
    "top-p 0.9 x5": lambda model, features: sample(model, features, 5, how=Sampling(top_p=0.9)),
}


class Timed:
    """A decoder that knows how long it has been at work."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.seconds = model, 0.0

    def begin(self, features: Features) -> State:
        return self._time(self.model.begin, features)

    def step(self, words: torch.Tensor, state: State) -> Step:
        return self._time(self.model.step, words, state)

    def _time(self, work: Callable, *arguments):
        start = now()
        result = work(*arguments)
        self.seconds += now() - start
        return result


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(model: torch.nn.Module, features: Features, way: Callable) -> tuple[float, float]:
    """Images/s of decoding and of the steps alone: medians."""
    way(model, features)
    whole, alone = [], []
    for _ in range(RUNS):
        timed, start = Timed(model), now()
        way(timed, features)
        whole.append(now() - start)
        alone.append(timed.seconds)
    return BATCH / statistics.median(whole), BATCH / statistics.median(alone)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("decoders", nargs="*", default=[*DECODERS])
    parser.add_argument("--regions", type=int, default=36)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    features = Features(torch.randn(BATCH, CHANNELS), torch.randn(BATCH, options.regions, CHANNELS))
    features = Features(*(t.to(device) for t in features[:2]))
    print(f"{device}, {options.threads} threads, {options.regions} regions; images/s")
    print(f"{'':28}{'decoding':>10}{'steps alone':>13}{'search costs':>14}{'earlier':>9}")
    for name in options.decoders:
        layers = 6 if name == "transformer" else 1
        model = build(name, Shape(WORDS + 1, CHANNELS, layers=layers)).to(device).eval()
        for label, way in WAYS.items():
            whole, alone = measure(model, features, way)
            earlier = EARLIER.get((name, options.regions), {}).get(label, "")
            cost = alone / whole - 1
            row = f"{name:14}{label:14}{whole:10.1f}{alone:13.1f}{cost:14.1%}{earlier:>9}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
