"""How fast prepro.labels reads a file of COCO's size, and in how much memory.

    python -m tests.bench.labels

Makes 123,287 images with 616,767 captions out of real ones (../shared/data: COCO's and Flickr8k's,
repeated), runs the command as the user does, and prints its seconds beside the earlier system's,
and beside what parsing the JSON and tokenising the captions cost alone.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import shared_folder

IMAGES, CAPTIONS = 123_287, 616_767
EARLIER = 14.8  # seconds of self-critical.pytorch's script on a machine like this one
RUNS = 3
READ = "import sys; from eval.files import read_json; value = read_json(sys.argv[1]);"
PARTS = {  # what nothing can leave out, each in a process of its own
    "parsing": READ,
    "parsing, then tokenize of each caption": READ
    + "from eval.tokenizer import tokenize; [tokenize(a['caption']) for a in value['annotations']]",
}


def main() -> None:
    shared = shared_folder()
    if shared is None:
        sys.exit("needs ../shared or CAPTION_SHARED for its captions")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.json"
        write(path, real_captions(shared / "data"))
        bound = {name: measured([sys.executable, "-c", PARTS[name], str(path)]) for name in PARTS}
        line = [sys.executable, "-m", "prepro.labels", "--annotations", str(path)]
        line += ["--images", folder, "--out", f"{folder}/out"]
        wall, cpu, memory = measured(line)
    print(
        f"prepro.labels: {wall:.1f} s ({cpu:.1f} s of CPU), {CAPTIONS / wall:,.0f} captions/s, "
        f"peak memory {memory:.2f} GiB; the earlier script took {EARLIER} s: {EARLIER / wall:.1f} x"
    )
    for name, (wall, cpu, _) in bound.items():
        print(f"alone, {name}: {wall:.1f} s ({cpu:.1f} s of CPU)")


def real_captions(data: Path) -> list[str]:
    coco = json.loads((data / "coco/captions_val2017_2500.json").read_text())
    flickr = (data / "flickr8k/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    captions = [annotation["caption"] for annotation in coco["annotations"]]
    return captions + [line.partition("\t")[2] for line in flickr]


def write(path: Path, captions: list[str]) -> None:
    """COCO's numbers of images and captions, split 113,287 / 5,000 / 5,000 as Karpathy's."""
    splits = ["val"] * 5000 + ["test"] * 5000 + ["train"] * (IMAGES - 10_000)
    images = [
        {"id": i, "file_name": f"train2014/COCO_train2014_{i:012d}.jpg", "split": split}
        for i, split in enumerate(splits)
    ]
    annotations = [
        {"id": k, "image_id": k % IMAGES, "caption": captions[k % len(captions)]}
        for k in range(CAPTIONS)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


def measured(line: list[str]) -> tuple[float, float, float]:
    """Medians over some runs of a command: wall and CPU seconds, and peak memory in GiB."""
    return tuple(map(statistics.median, zip(*(once(line) for _ in range(RUNS)), strict=True)))


def once(line: list[str]) -> tuple[float, float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(line, stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"{line} failed")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
