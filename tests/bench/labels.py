"""How fast prepro.labels reads a file of COCO's size, and in how much memory.

    python -m tests.bench.labels

Makes 123,287 images with 616,767 captions out of real ones (../shared/data/coco, repeated), runs
the command as the user does, and prints captions/s beside the bound: parsing the same JSON and
tokenising the same captions in one process, which no program of ours can do without.
"""

import json
import os
import resource
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


def main() -> None:
    shared = shared_folder()
    if shared is None:
        sys.exit("needs ../shared or CAPTION_SHARED for its captions")
    real = json.loads((shared / "data/coco/captions_val2017_2500.json").read_text())
    captions = [annotation["caption"] for annotation in real["annotations"]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.json"
        write(path, captions)
        bound = statistics.median(alone(path) for _ in range(RUNS))
        seconds = statistics.median(whole(path) for _ in range(RUNS))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"prepro.labels: {seconds:.1f} s, {CAPTIONS / seconds:,.0f} captions/s; parsing and "
        f"tokenising alone, in one process: {bound:.1f} s; ratio {bound / seconds:.2f}; "
        f"peak memory {peak:.2f} GiB; the earlier script took {EARLIER} s, "
        f"{EARLIER / seconds:.1f} x"
    )


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


def alone(path: Path) -> float:
    """Seconds for the parts that nothing can leave out, in a fresh process."""
    code = (
        "import sys, time, json; from eval.tokenizer import tokenize; start = time.perf_counter();"
        "value = json.loads(open(sys.argv[1], 'rb').read());"
        "[tokenize(a['caption']) for a in value['annotations']]; print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    return float(done.stdout)


def whole(path: Path) -> float:
    out = path.parent / "out"
    line = [sys.executable, "-m", "prepro.labels", "--annotations", str(path)]
    line += ["--images", str(path.parent), "--out", str(out)]
    start = time.perf_counter()
    subprocess.run(line, check=True, stdout=sys.stderr, env=os.environ)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
