"""Decoding speed: images/s, next to the model's steps alone and the earlier system's figure.

    python -m tests.bench.decode                       all rows, two threads, under three minutes
    python -m tests.bench.decode newfc --threads 1     in CPU time, for a busy machine

Real sizes: 50 images, 9,487 words, 512 units (the Transformer 6 + 6 layers), 2,048 channels. The
weights are random but for the end's, which is never likely: every caption has 16 words, like those
of the earlier figures, and no early finish flatters. "steps alone" is begin and 16 steps of as many
hypotheses, in a loop that chooses nothing and reorders nothing; the two are timed in turns, medians
are shown. The search's target: below 15 % on a CPU, 30 % on a GPU. "earlier" is
self-critical.pytorch on a quiet machine with two cores (2 threads): it compares with one like that.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from caption.decoding.beams import Beams
from caption.decoding.greedy import greedy
from caption.decoding.options import Sampling
from caption.decoding.sampling import sample
from caption.decoding.search import beam_search
from caption.models import Decoder, Features, Shape, build
from prepro.runtime.device import choose_device
from prepro.runtime.precision import autocast_to

BATCH, WORDS, CHANNELS, LENGTH, RUNS = 50, 9487, 2048, 16, 3


class Way(NamedTuple):
    decode: Callable
    hypotheses: int


WAYS = {
    "greedy": Way(lambda model, seen: greedy(model, seen, LENGTH), 1),
    "beam 5": Way(lambda model, seen: beam_search(model, seen, Beams(5), LENGTH), 5),
    "sample x5": Way(lambda model, seen: sample(model, seen, 5, LENGTH), 5),
    "top-p 0.9 x5": Way(lambda model, seen: sample(model, seen, 5, LENGTH, Sampling(top_p=0.9)), 5),
}
ROWS = [
    ("show_tell", 36, "greedy"), ("show_tell", 36, "beam 5"), ("newfc", 36, "greedy"),
    ("newfc", 36, "beam 5"), ("newfc", 36, "sample x5"), ("newfc", 36, "top-p 0.9 x5"),
    ("topdown", 36, "greedy"), ("topdown", 36, "beam 5"), ("topdown", 196, "greedy"),
    ("topdown", 196, "beam 5"), ("transformer", 36, "greedy"), ("transformer", 36, "beam 5"),
]  # fmt: skip
"""decoder, regions, way"""
EARLIER = {
    "AVX2": {
        ("newfc", 36, "greedy"): 264, ("newfc", 36, "beam 5"): 13.5,
        ("topdown", 36, "greedy"): 99, ("topdown", 36, "beam 5"): 10.5,
        ("topdown", 196, "greedy"): 63, ("topdown", 196, "beam 5"): 7.0,
    },
    "AVX512": {
        ("newfc", 36, "greedy"): 321, ("newfc", 36, "beam 5"): 15.7,
        ("topdown", 36, "greedy"): 184, ("topdown", 36, "beam 5"): 14.5,
    },
}  # fmt: skip
"""images/s of the earlier system on two cores of each kind"""


@torch.no_grad()
def steps_alone(model: Decoder, features: Features, hypotheses: int) -> None:
    """Nothing but the decoder: the first word once an image, the others for all hypotheses."""
    words = torch.zeros(BATCH, 1, dtype=torch.int64, device=features.fc.device)
    _, state, _ = model.step(words, model.begin(features))
    words, state = words.expand(-1, hypotheses), state.expand(hypotheses)
    for _ in range(LENGTH - 1):
        _, state, _ = model.step(words, state)


def endless(name: str, device: str) -> Decoder:
    layers = 6 if name == "transformer" else 1
    model = build(name, Shape(WORDS + 1, CHANNELS, layers=layers)).to(device).eval()
    with torch.no_grad():
        model.classify.bias[0] = -30
    return model


def seconds(work: Callable, clock: Callable) -> float:
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def measure(model: Decoder, features: Features, way: Way, clock: Callable) -> tuple[float, float]:
    """Images/s of decoding and of the steps alone."""
    found = way.decode(model, features)
    assert (found.tokens[:, 0] > 0).all(), "a caption ended early"
    steps_alone(model, features, way.hypotheses)
    whole, alone = [], []
    for _ in range(RUNS):
        whole.append(seconds(lambda: way.decode(model, features), clock))
        alone.append(seconds(lambda: steps_alone(model, features, way.hypotheses), clock))
    return BATCH / statistics.median(whole), BATCH / statistics.median(alone)


def main() -> None:
    parser = argparse.ArgumentParser()
    every = list(dict.fromkeys(row[0] for row in ROWS))
    parser.add_argument("decoders", nargs="*", default=every)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = choose_device("auto").type
    busy = device == "cpu" and options.threads == 1
    clock = time.process_time if busy else time.perf_counter
    print(f"{device}, {options.threads} threads, {'CPU' if busy else 'wall'} time, images/s")
    print(f"{'':32}{'decoding':>9}{'steps alone':>13}{'search':>9}{'earlier':>9}{'ratio':>7}")
    figures = EARLIER.get(torch.backends.cpu.get_cpu_capability(), {})
    for name, regions, way in ROWS:
        earlier = figures.get((name, regions, way))
        if name in options.decoders:
            seen = Features(torch.randn(BATCH, CHANNELS), torch.randn(BATCH, regions, CHANNELS))
            features = Features(*(t.to(device) for t in seen[:2]))
            with autocast_to(options.precision, torch.device(device)):
                whole, alone = measure(endless(name, device), features, WAYS[way], clock)
            row = f"{name:12}{regions:4}  {way:14}{whole:9.1f}{alone:13.1f}{alone / whole - 1:9.1%}"
            print(row + (f"{earlier:9}{whole / earlier:7.1f}" if earlier else ""), flush=True)


if __name__ == "__main__":
    main()
