"""Labels of any size: opening seconds, memory and batches a second, and what prepro.labels took.

    python -m tests.bench.label_rows [CAPTIONS ...]

For each number of captions (one a picture, ten words of 5,000): a labels.h5 that is read by row;
then, in a process of its own, the time to open it, what opening adds to the process's own memory,
the time to begin an epoch, batches of 50 captions a second over 500 random batches (captions,
lengths and records), and the memory that was added, without and with mapped pages of the files.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prepro.annotations.records import ImageRecord
from prepro.storage.label_row_writer import write_label_rows
from prepro.vocabulary import Vocabulary

COUNTS = ("10000", "1000000", "5000000")
WORDS, LONGEST, BATCHES = 5000, 16, 500
PART = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np, torch
from caption.data.batches import CaptionSet
from prepro.storage.label_file import read_labels

def memory():
    lines = dict(line.split(':') for line in open('/proc/self/status') if ':' in line)
    return [int(lines[name].split()[0]) / 1024 for name in ('RssAnon', 'VmRSS')]

before, start = memory(), time.perf_counter()
labels = read_labels(Path(sys.argv[1]))
opened = time.perf_counter() - start
data = SimpleNamespace(labels=labels, split=labels.split)
start = time.perf_counter()
captions = CaptionSet(data, None, 'train', 1, 0, torch.device('cpu'))
batches = captions.epoch(0, 50)
next(batches)
began = time.perf_counter() - start
start, count = time.perf_counter(), 0
for batch in batches:
    ids = [labels.records[row].id for row in batch.rows]
    count += 1
    if count == BATCHES:
        break
speed = count / (time.perf_counter() - start)
after = memory()
own, mapped = after[0] - before[0], after[1] - before[1]
print(json.dumps([opened, began, speed, own, mapped, after[1]]))
"""


def main(*counts: str) -> None:
    heads = ("captions", "open s", "begin s", "batches/s", "own MiB", "mapped MiB", "process MiB")
    print(" ".join(f"{head:>11}" for head in heads))
    for count in map(int, counts or COUNTS):
        with tempfile.TemporaryDirectory() as folder:
            vocabulary = Vocabulary(tuple(f"w{i}" for i in range(WORDS)))
            write_label_rows(Path(folder), rows(count), vocabulary, LONGEST, {})
            line = [sys.executable, "-c", PART.replace("BATCHES", str(min(BATCHES, count // 60)))]
            ran = subprocess.run([*line, folder], capture_output=True, check=True)
        opened, began, speed, *memory = json.loads(ran.stdout)
        print(
            f"{count:>11,} {opened:>11.3f} {began:>11.2f} {speed:>11,.0f} "
            + " ".join(f"{part:>11,.0f}" for part in memory),
            flush=True,
        )


def rows(count: int) -> Iterator[tuple[ImageRecord, list[np.ndarray]]]:
    """Pictures with one caption of ten words; the last hundred are of the split val."""
    drawn = np.random.default_rng(0).integers(1, WORDS + 1, (1000, 10))
    texts = [" ".join(f"w{i - 1}" for i in row) for row in drawn.tolist()]
    for i in range(count):
        split, which = "val" if i >= count - 100 else "train", i % 1000
        path = f"{i // 10_000:05}.tar/{i:09}.jpg"
        yield ImageRecord(path, path, split, (texts[which],)), [drawn[which]]


if __name__ == "__main__":
    main(*sys.argv[1:])
