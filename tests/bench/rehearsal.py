"""The whole road at COCO's size: time and peak memory of every step.

    python -m tests.bench.rehearsal --out DIR          (make rehearsal; about an hour)
    python -m tests.bench.rehearsal --out DIR --images 2000

Draws as many pictures as COCO has, in Karpathy's split, with five captions each, and runs the
commands on them as a user would: a tiny encoder with random weights, so that the network takes
little of the time, and decoders of full size. Memory is the sum of what all processes of a command
hold (PSS), looked at five times a second. Steps that are in DIR/rehearsal.jsonl are not done again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eval import command

COCO = 123_287  # pictures
HELD_OUT = 5_000  # of them for validation, and as many for the test
SIZE = 64  # pixels
ENCODER = "resnet10-w8"


@dataclass(frozen=True)
class Options:
    """Rehearse training on COCO with drawn pictures: time and peak memory of every step.

    Example: python -m tests.bench.rehearsal --out /tmp/rehearsal
    """

    out: Path
    """folder of the data, the runs and rehearsal.jsonl"""
    images: int = COCO
    """pictures; a twenty-fifth is for validation, as many for the test"""


def steps(out: Path, images: int) -> Iterator[tuple[str, list[str]]]:
    """Yields what each step is called, and its command."""
    held_out = images * HELD_OUT // COCO
    data, results = out / "data", out / "results.json"
    train = ["caption.train", "--data", str(data), "--epochs", "1", "--batch-size", "20"]
    yield "draw", [
        "prepro.scenes", "--out", str(data), "--size", str(SIZE),
        "--train", str(images - 2 * held_out), "--val", str(held_out), "--test", str(held_out),
    ]  # fmt: skip
    yield "labels", [
        "prepro.labels", "--annotations", str(data / "annotations.json"), "--images", str(data),
        "--out", str(data),
    ]  # fmt: skip
    yield "features", [
        "prepro.features", "--data", str(data), "--encoder", ENCODER, "--weights", "none",
        "--mode", "square", "--resize", str(SIZE), "--crop", str(SIZE),
    ]  # fmt: skip
    yield "Show and Tell, one epoch", [*train, "--decoder", "show_tell", "--out", str(out / "st")]
    yield "Top-Down, one epoch", [*train, "--decoder", "topdown", "--out", str(out / "td")]
    yield "captions", ["caption.generate", "--run", str(out / "td"), "--out", str(results)]
    yield "scores", [
        "eval.score", "--references", str(data / "labels.json"), "--split", "test",
        "--results", str(results),
    ]  # fmt: skip
    yield "report", [
        "caption.report", "--run", str(out / "td"), "--results", str(results),
        "--out", str(out / "report.html"),
    ]  # fmt: skip


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    journal = options.out / "rehearsal.jsonl"
    rows = journal.read_text("utf-8").splitlines() if journal.exists() else []
    done = {row["step"]: row for row in map(json.loads, rows)}
    print("| step | seconds | peak GB |\n|---|---|---|")
    for name, words in steps(options.out, options.images):
        if name not in done:
            seconds, memory = measure(words)
            done[name] = {"step": name, "seconds": seconds, "bytes": memory}
            with open(journal, "a", encoding="utf-8") as file:
                file.write(json.dumps(done[name]) + "\n")
        row = done[name]
        print(f"| {name} | {row['seconds']:,.0f} | {row['bytes'] / 1e9:.2f} |", flush=True)
    total = sum(row["seconds"] for row in done.values())
    print(f"| all | {total:,.0f} | {max(row['bytes'] for row in done.values()) / 1e9:.2f} |")


def measure(words: list[str]) -> tuple[float, int]:
    """Run a command. Returns seconds, and the peak of the memory of all its processes in bytes.

    RuntimeError if it fails.
    """
    start, peak = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        peak = max(peak, session_memory(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit status {process.returncode}")
    return time.monotonic() - start, peak


def session_memory(session: int) -> int:
    """Bytes that all processes of a session hold; shared pages count once."""
    total = 0
    for entry in os.scandir("/proc"):
        with suppress(OSError, ValueError):  # a process that has just ended
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                text = Path(entry.path, "smaps_rollup").read_text("ascii")
                total += 1024 * int(text.partition("\nPss:")[2].split()[0])
    return total


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
