"""How fast `python -m caption.train` trains: captions/s beside a bound and the earlier system's.

    python -m tests.bench.train [--decoders topdown transformer] [--regions 49] [--quick]
    python -m tests.bench.train --epoch --decoders show_tell --batch-size 500     (a GPU's work)

A step is what the command does, caption.training.trainer.Trainer.update, on a data folder of COCO's
sizes with random features and captions: 10 images x 5 captions of 16 words at most, vocabulary
9,487, 512 hidden, features of 2,048. The bound (tests.bench.arithmetic) is the arithmetic of the
same batch as bare PyTorch operations on tensors in memory, its products through the fastest library
here, which a last line names, in bfloat16 only if the step is. Step and bound are timed in turns
after five steps that are not: medians.
With one thread the clock counts the process's CPU time, so that a busy machine does not matter;
with more it is the wall's. Trust the ratios. `data` is the share of time spent waiting for batches,
`memory` the process's largest size in the second half of the steps over that in the first.

--epoch is one epoch of 113,287 pictures and 566,435 captions, in bf16 with all features on the
device where that is a GPU. --images makes it shorter.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command

if TYPE_CHECKING:
    from caption.data.batches import Batch
    from caption.training.trainer import Trainer

Clock = Callable[[], float]

EARLIER = {
    "AVX2": {
        ("show_tell", 0): 71,  # its `fc`
        ("newfc", 0): 61, ("att2in", 36): 62, ("att2in", 196): 41, ("topdown", 36): 50,
        ("topdown", 196): 35, ("transformer", 36): 14, ("transformer", 196): 2.5,
    },
    "AVX512": {
        ("newfc", 0): 119, ("att2in", 36): 101, ("topdown", 36): 70, ("topdown", 196): 55,
        ("transformer", 36): 20.6, ("transformer", 196): 5.2,
    },
}  # fmt: skip
"""captions/s of self-critical.pytorch at 4c48a33 on two cores of each kind"""
WARM_UP = 5  # steps until freed memory serves the next step
HEAD = f"{'decoder':16} {'R':>4} {'ours':>8} {'bound':>7} {'ratio':>6} {'data':>6} {'memory':>8}"


@dataclass(frozen=True)
class Options:
    """Training speed of the decoders. Example: python -m tests.bench.train --decoders newfc"""

    decoders: tuple[str, ...] = ()
    """which ones; all by default"""
    regions: tuple[int, ...] = (36, 49, 196)
    """R, for the decoders with attention"""
    runs: int = 5
    """timed steps; at 196 regions half as many"""
    precision: str = "auto"
    """that of caption.train"""
    quick: bool = False
    """two timed steps, and 49 regions only"""
    epoch: bool = False
    """one epoch of COCO's size instead, 49 regions"""
    images: int = 113_287
    """pictures of that epoch"""
    batch_size: int = 250
    """pictures a batch of that epoch"""


def main(options: Options) -> None:
    import torch

    from caption.models import DECODERS
    from prepro.runtime.device import choose_device
    from prepro.runtime.precision import training_precision
    from tests.bench.products import allow_bfloat16, shares

    names = options.decoders or tuple(DECODERS)
    if options.epoch:
        for name in names:
            epoch(name, 49 * DECODERS[name].needs_regions, options)
        return
    device = choose_device("auto")
    precision = training_precision(options.precision, device)
    if precision == "bfloat16":
        allow_bfloat16()
    print(f"{torch.get_num_threads()} threads, {device}, {precision}; captions/s", file=sys.stderr)
    print(f"{HEAD} {'earlier':>8} {'x':>5}")
    for name in names:
        needs_regions = DECODERS[name].needs_regions
        for regions in ((49,) if options.quick else options.regions) if needs_regions else (0,):
            runs = 2 if options.quick else max(2, options.runs // (1 + (regions > 100)))
            with tempfile.TemporaryDirectory() as folder:
                print(row(name, regions, Path(folder), runs, options.precision), flush=True)
    print(f"products of the bound: {shares()}", file=sys.stderr)


def row(name: str, regions: int, folder: Path, runs: int, precision: str) -> str:
    """One line of the table."""
    import torch

    from tests.bench.arithmetic import Size, arithmetic
    from tests.bench.synthetic import make_folder

    make_folder(folder / "data", 40, regions)
    trainer = trainer_of(name, folder, 10, precision)
    parameters = sum(p.numel() for p in trainer.learner.network.parameters())
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    waits, steps, bounds, sizes = [], [], [], []
    for wait, group in waited(trainer, clock):
        shares = group[0].token_mask.sum(1).T.tolist()  # (B, K, T) to (T, B)
        bound = arithmetic(name, Size(shares, regions, parameters))
        steps.append(taken(lambda group=group: trainer.update(group), clock))
        sizes.append(resident())
        bound()  # what it writes to is in memory, too, when it counts
        bounds.append(taken(bound, clock))
        waits.append(wait)
        if len(steps) == WARM_UP + runs:
            break
    waits, steps, bounds = (times[WARM_UP:] for times in (waits, steps, bounds))
    ours, bare = (statistics.median(times) for times in (steps, bounds))
    share = sum(waits) / (sum(waits) + sum(steps))
    middle = len(sizes) // 2
    grown = max(sizes[middle:]) / max(sizes[:middle]) - 1
    text = f"{name:16} {regions:4} {50 / ours:8.1f} {50 / bare:7.1f} {ours / bare:6.2f}"
    text += f" {share:6.2%} {grown:+8.1%}"
    earlier = EARLIER.get(torch.backends.cpu.get_cpu_capability(), {}).get((name, regions))
    return f"{text} {earlier:8} {50 / ours / earlier:5.1f}" if earlier else text


def epoch(name: str, regions: int, options: Options) -> None:
    """Train one epoch as the command does and say how long it took."""
    import torch

    from tests.bench.synthetic import make_folder

    with tempfile.TemporaryDirectory() as folder:
        captions = make_folder(Path(folder, "data"), options.images, regions, fill=False)
        trainer = trainer_of(name, Path(folder), options.batch_size, options.precision)
        for features in (trainer.store.fc, trainer.store.att):
            if features is not None:
                features.normal_()
        start = time.perf_counter()
        for group in trainer.epoch(0):
            trainer.update(group)
        seconds = time.perf_counter() - start
    device = trainer.context.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0
    done = len(trainer.captions) * trainer.config.captions_per_image
    print(
        f"{name}, {regions} regions, {options.images:,} pictures, {captions:,} captions, {where}: "
        f"{seconds:.1f} s, {done / seconds:,.0f} captions/s, {memory:.1f} GB of its memory",
        flush=True,
    )


def trainer_of(name: str, folder: Path, batch_size: int, precision: str) -> "Trainer":
    """A run of folder/data at the issue's sizes, about to take its first step."""
    from caption.config import TrainConfig
    from caption.presets import PRESETS
    from caption.training.setup import open_trainer
    from prepro.runtime import distributed

    deep = PRESETS["transformer"]() if name == "transformer" else TrainConfig()
    config = replace(
        deep,
        data=folder / "data",
        out=folder / "run",
        decoder=name,
        batch_size=batch_size,
        precision=precision,
    )
    config.out.mkdir()
    trainer = open_trainer(config, distributed.init_distributed(config.device))
    trainer.enter_epoch(0)
    return trainer


def waited(trainer: "Trainer", clock: Clock) -> Iterator[tuple[float, list["Batch"]]]:
    """The batches of epoch after epoch, each with the seconds until it was there."""
    for number in itertools.count():
        groups, start = trainer.epoch(number), clock()
        for group in groups:
            yield clock() - start, group
            start = clock()


def taken(work: Callable[[], object], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


def resident() -> int:
    """Bytes of the process that lie in memory; 1 where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * 4096 if path.exists() else 1


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
