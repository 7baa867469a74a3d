"""Memory of the features when several processes of one machine train: one copy, or one each.

    python -m tests.bench.shared_features [MB]

For 1, 2 and 4 processes, as torchrun starts them: the memory (PSS) of all of them together that
holds features of 800 MB, the bound (one copy), and their ratio. What exceeds the bound are buffers.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from prepro.storage.feature_file import FeatureFile, Provenance
from prepro.storage.feature_writer import FeatureWriter, create

REGIONS, DIM = 49, 512
PROGRAM = """
import json, sys
from pathlib import Path
from caption.data.feature_store import FeatureStore
from prepro.runtime.distributed import all_gather, init_distributed
from prepro.storage.feature_file import FeatureFile

def memory():
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * int(text.partition("\\nPss:")[2].split()[0])

context, file = init_distributed("cpu"), FeatureFile(Path(sys.argv[1]))
all_gather(context, None)
before = memory()
store = FeatureStore(file, True, "memory", context)
store.fc.sum(), store.att.sum()  # every process reads every page
all_gather(context, None)
used = memory() - before
all_gather(context, None)
print(json.dumps(used))
"""


def main(megabytes: int = 800) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        bound = write(path, megabytes)
        print(f"{'processes':>9} {'MB':>7} {'one copy':>9} {'ratio':>6}")
        for world in (1, 2, 4):
            used = sum(run(path, world))
            print(f"{world:>9} {used / 1e6:>7.0f} {bound / 1e6:>9.0f} {used / bound:>6.2f}")


def write(path: Path, megabytes: int) -> int:
    """Features of about so many megabytes. Returns their bytes."""
    count = megabytes * 1_000_000 // (2 * DIM * (1 + REGIONS))
    create(path, Provenance("net", "w", "w", "{}", "abc", DIM, REGIONS), range(count))
    with FeatureWriter(path) as writer:
        block = np.ones((count, REGIONS, DIM), np.float16)
        writer.write(np.arange(count), block[:, 0], block)
    assert FeatureFile(path).complete
    return 2 * count * DIM * (1 + REGIONS)


def run(path: Path, world: int) -> list[int]:
    """The bytes that each process needs for the features."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world)
    ]  # fmt: skip
    return [json.loads(process.communicate()[0]) for process in processes]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
