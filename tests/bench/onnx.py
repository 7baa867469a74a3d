"""caption.onnx beside caption.sample: captions, seconds a picture, cold start, sizes.

    python -m tests.bench.onnx                         photographs of ../shared or $CAPTION_SHARED
    python -m tests.bench.onnx --images photos --count 200 --run flickr8k

One thread each. Equal captions are counted at beam 1 and beam 3; those that differ are printed with
their log-probabilities. Cold start: whole processes for one photograph, medians of RUNS. Sizes: the
files of the folder, with the page, without its runtime.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from caption.captioner import Captioner
from caption.inference.image_paths import images_in_folder
from caption.onnx.export import export_folder
from caption.onnx.session import OnnxCaptioner
from caption.onnx.web import write_page
from tests.conftest import shared_folder

RUNS = 7


# Measures from a small process: a child's peak memory begins with that of its parent.
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall = time.perf_counter() - start
print(wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)
"""


def compare(captioner: Captioner, exported: OnnxCaptioner, pictures: list[Path]) -> None:
    for beam in (1, 3):
        seconds, equal = [0.0, 0.0], 0
        both = (
            lambda path, beam=beam: captioner.captions([path], beam=beam, n=1)[0][0],
            lambda path, beam=beam: exported.captions(path, beam=beam, n=1)[0],
        )
        for caption in both:  # to warm up
            caption(pictures[0])
        for path in pictures:
            found = []
            for i, caption in enumerate(both):
                start = time.perf_counter()
                found.append(caption(path))
                seconds[i] += time.perf_counter() - start
            ours, theirs = found
            equal += ours.text == theirs.text
            if ours.text != theirs.text:
                print(
                    f"{path.name}: {ours.text} ({ours.log_prob:.5f}) / "
                    f"{theirs.text} ({theirs.log_prob:.5f})"
                )
        rates = [total / len(pictures) for total in seconds]
        print(
            f"beam {beam}: {equal} of {len(pictures)} captions equal; s/picture: PyTorch "
            f"{rates[0]:.3f}, onnxruntime {rates[1]:.3f}"
        )


def cold(module: str, *words: object) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of a process: medians."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", module, *map(str, words)]
    found = []
    for _ in range(RUNS):
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(tuple(map(float, ran.stdout.split())))
    return tuple(statistics.median(column) for column in zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--run", default="flickr8k")
    options = parser.parse_args()
    folder = options.images or (shared_folder() and shared_folder() / "data/photos")
    if folder is None:
        sys.exit("tests.bench.onnx: give --images FOLDER")
    pictures = images_in_folder(folder)[: options.count]
    torch.set_num_threads(1)
    captioner = Captioner.load(options.run)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        for storage in ("float32", "float16", "int8"):
            export_folder(captioner, out / storage, storage=storage, page=write_page)
            sizes = {path.name: path.stat().st_size / 1e6 for path in (out / storage).iterdir()}
            graphs = ", ".join(f"{n} {s:.2f}" for n, s in sorted(sizes.items()) if s > 0.1)
            print(f"{storage}: {sum(sizes.values()):.2f} MB ({graphs})")
        compare(captioner, OnnxCaptioner.load(out / "float32", 1), pictures)
        for module, flag, model in (
            ("caption.sample", "--run", options.run), ("caption.onnx", "--model", out / "float32")
        ):  # fmt: skip
            wall, memory = cold(module, pictures[0], flag, model)
            print(f"{module}, one photograph, whole process: {wall:.2f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
