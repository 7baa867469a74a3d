"""A million captions in tar shards: labels and 500 steps of training, with time and peak memory.

    python -m tests.bench.tar_training [CAPTIONS]

Writes shards of 10,000 pictures (8 x 8 pixels, five captions in a .json), runs prepro.labels on
them, writes features of random numbers (fc of 64), and trains Show and Tell until 500 steps are in
its metrics, when Ctrl-C ends it; each command in a process of its own.
"""

import io
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from prepro.storage.feature_file import DONE, Provenance
from prepro.storage.feature_writer import create
from prepro.storage.label_file import read_labels

SHARD, EACH, DIM, STEPS, WORDS = 10_000, 5, 64, 500, 3000


def main(captions: str = "1000000") -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shards = write_shards(folder / "shards", int(captions) // EACH)
        line = ["prepro.labels", "--annotations", f"{folder}/shards/{{00000..{shards - 1:05}}}.tar"]
        measured([*line, "--images", f"{folder}/shards", "--out", f"{folder}/data"])
        write_features(folder / "data")
        line = ["caption.train", "--data", f"{folder}/data", "--out", f"{folder}/run"]
        line += ["--decoder", "show_tell", "--batch-size", "20"]
        measured(line, folder / "run" / "metrics.jsonl")


def write_shards(folder: Path, pictures: int) -> int:
    """Returns the number of shards."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    data = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(data, "JPEG")
    numbers = rng.integers(0, WORDS, (2000, 10)).tolist()
    texts = [" ".join(f"word{i}" for i in row) for row in numbers]
    shards = -(-pictures // SHARD)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(shard * SHARD, min((shard + 1) * SHARD, pictures)):
                own = json.dumps({"captions": [texts[(i * EACH + k) % 2000] for k in range(EACH)]})
                add(tar, f"{i:09}.jpg", data.getvalue()), add(tar, f"{i:09}.json", own.encode())
            tar.members = []
    return shards


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_features(folder: Path) -> None:
    labels = read_labels(folder)
    about = Provenance("synthetic", "none", "", "{}", labels.images_sha256, DIM, 0)
    create(folder / "features.h5", about, [record.id for record in labels.records])
    with h5py.File(folder / "features.h5", "r+") as file:
        shape = file["fc"].shape
        file["fc"][:] = np.random.default_rng(0).standard_normal(shape, np.float32)
        file["status"][:] = DONE
        file.attrs["complete"] = True


def measured(line: list[str], metrics: Path | None = None) -> None:
    """Run a command, and print its time and peak memory; a training ends after STEPS steps.

    The memory is VmHWM: what wait4 tells is at least what this process had when it forked.
    """
    start, peak, stopped = time.perf_counter(), 0, False
    process = subprocess.Popen([sys.executable, "-m", *line])
    while process.poll() is None:
        with suppress(OSError, IndexError):  # it has just ended
            status = Path(f"/proc/{process.pid}/status").read_text("ascii")
            peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]))
        if metrics and not stopped and metrics.exists():
            stopped = f'"step": {STEPS}' in metrics.read_text("utf-8")
            if stopped:
                process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    if process.returncode != (130 if metrics else 0):
        sys.exit(f"{line} failed")
    seconds = time.perf_counter() - start
    print(f"{line[0]}: {seconds:.0f} s, peak memory {peak / 1024:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
