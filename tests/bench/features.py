"""The speed of prepro.features against that of its network alone, on JPEGs of 640 x 480.

    python -m tests.bench.features [ENCODER] [PICTURES] [BATCH] [PRECISION]

Prints images/s of the command as a user runs it (from the difference between two numbers of images,
so that the start does not count), of the network alone on tensors in memory (the bound) and of
decoding alone in as many processes; their ratios, peak memory and bytes an image. The images are
the photographs of ../shared/data/photos, or noise if they are absent.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from prepro.annotations.records import ImageRecord
from prepro.runtime.device import choose_device
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary
from tests.conftest import shared_folder

RUNS = 3
COMMAND = """
import resource, sys
from eval import command
from prepro import features
status = command.run(features.Options, features.main)
kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
print(*(resource.getrusage(kind).ru_maxrss for kind in kinds), file=sys.stderr)
sys.exit(status)
"""


def main(
    encoder: str = "resnet50", pictures: str = "128", batch: str = "16", precision: str = "float32"
) -> None:
    choose_device("cpu")  # the bounds are computed as the command computes
    count, size = int(pictures), int(batch)
    rates, bounds, plains, decodes = [], [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = paint(folder, count)
        for _ in range(RUNS):  # alternating, so that other load affects all three alike
            short, _, _ = extract(folder, names[: count // 4], encoder, size, precision)
            long, memory, length = extract(folder, names, encoder, size, precision)
            rates.append((count - count // 4) / (long - short))
            bounds.append(network_alone(encoder, size, 4, precision))
            plains.append(network_alone(encoder, size, 4))
            decodes.append(decode_alone(folder, names, size))
    rate, bound, plain, decode = map(statistics.median, (rates, bounds, plains, decodes))
    ratios = [a / b for a, b in zip(rates, bounds, strict=True)]
    if precision != "float32":
        print(f"smallest cosine with float32: {smallest_cosine(encoder, size, precision):.6f}")
    print(
        f"{encoder}, {precision}, batch {size}: {rate:.2f} images/s; network alone {bound:.2f}, "
        f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}); with "
        f"BatchNorm folded and nothing else, in float32, {plain:.2f}; decoding alone "
        f"{decode:.0f}; peak memory {memory[0] / 2**20:.2f} GiB and {memory[1] / 2**20:.2f} a "
        f"worker; {length / count:,.0f} bytes an image"
    )


def paint(folder: Path, count: int) -> list[str]:
    """`count` JPEGs of 640 x 480."""
    shared = shared_folder()
    photos = sorted((shared / "data/photos").glob("*.jpg")) if shared else []
    rng = np.random.default_rng(0)
    names = [f"{i}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        if photos:
            picture = Image.open(photos[i % len(photos)]).convert("RGB")
        else:
            picture = Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
        picture.resize((640, 480)).save(folder / name, quality=92)
    return names


def extract(folder: Path, names: list[str], encoder: str, batch: int, precision: str) -> tuple:
    """Seconds of the command, peak memory in KiB (of itself, of a worker), the file's length."""
    records = [ImageRecord(i, name, "train", ("a",)) for i, name in enumerate(names)]
    encoded = [[1]] * len(records)
    write_labels(folder, records, Vocabulary(("a",)), encoded, 2, {"image_root": ""})
    path = folder / "features.h5"
    path.unlink(missing_ok=True)
    line = [sys.executable, "-c", COMMAND, "--data", str(folder), "--encoder", encoder]
    line += ["--weights", "none", "--batch-size", str(batch), "--device", "cpu"]
    line += ["--precision", precision]
    start = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    memory = [int(number) for number in done.stderr.split("\n")[-2].split()]
    return seconds, memory, path.stat().st_size


def network_alone(encoder: str, batch: int, batches: int, precision: str = "") -> float:
    """Images/s of the network in channels_last on numbers in memory, all its operations fused; with
    no precision in float32, only BatchNorm fused."""
    import torch

    from prepro import encoders
    from prepro.extraction.fuse_activation import fuse_activations
    from prepro.extraction.fuse_batchnorm import fuse_conv_bn

    dtype = getattr(torch, precision or "float32")
    network = fuse_conv_bn(encoders.create_encoder(encoder).network).to(dtype)
    network = (fuse_activations(network) if precision else network).to(
        memory_format=torch.channels_last
    )
    pixels = torch.randn(batch, 3, 224, 224, dtype=dtype).contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        network(pixels)
        start = time.perf_counter()
        for _ in range(batches):
            network(pixels)
    return batch * batches / (time.perf_counter() - start)


def smallest_cosine(encoder: str, batch: int, precision: str) -> float:
    """Of the pooled features of random pixels by a network with random weights."""
    import torch

    from prepro import encoders
    from prepro.extraction.extractor import Extractor

    made, device = encoders.create_encoder(encoder), torch.device("cpu")
    pixels = torch.randint(256, (batch, 3, 224, 224), dtype=torch.uint8)
    exact, near = (Extractor(made, device, 0, p)(pixels)[0] for p in ("float32", precision))
    return float(torch.cosine_similarity(exact.float(), near.float()).min())


def decode_alone(folder: Path, names: list[str], batch: int) -> float:
    """Images/s of reading, decoding, resizing and collating, with the command's own workers."""
    from prepro import features
    from prepro.extraction import batching, image_loader
    from prepro.transform import Transform

    reader = image_loader.ImageFolderReader(folder, names, Transform())
    plan = batching.fixed_size_batches(len(names), batch, 224, [True] * len(names))
    loader = image_loader.make_loader(
        image_loader.BatchDataset(reader, plan), features.Options.workers
    )
    start = time.perf_counter()
    for _ in loader:
        pass
    return len(names) / (time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
