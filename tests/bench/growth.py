"""The whole road by the number of captions: time and peak memory of every step, table and plot.

    python -m tests.bench.growth --out DIR                      (an hour, 12 GB of disk)
    python -m tests.bench.growth --out DIR --captions 10000 100000 --plot growth.png

Tiny pictures with five captions each, a tiny encoder and a tiny decoder, so that what grows is the
work beside the networks. Pictures are links to some JPEGs; captions are words of a list, drawn as
rare as words are. The test split has 1,000 pictures at most, whatever the size. Memory is that of
all processes of a command (PSS). Steps that are in DIR/growth.jsonl are not done again.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from PIL import Image

from eval import command
from eval.files import whole_file
from prepro.runtime.plotting import COLOURS, MARKERS, STYLE
from tests.bench.rehearsal import measure

CAPTIONS = 5  # of a picture
HELD_OUT = {"val": 200, "test": 1000}  # pictures, at most a tenth each
FOLDER = 10_000  # pictures, all links to one: ext4 allows 65,000 links of a file
BLOCK = 10_000  # pictures whose captions are drawn at a time
WORDS = ["".join(letters) for letters in product("bdfglmnprstv", "aeiou", "knrst", "aeo")][:800]
ENCODER = "resnet8-w4"

Row = dict[str, float]
"""{"captions", "step", "seconds", "bytes"}"""


@dataclass(frozen=True)
class Options:
    """Measure how the time and the memory of every step grow with the number of captions.

    Example: python -m tests.bench.growth --out /tmp/growth --plot growth.png
    """

    out: Path
    """folder of pictures, data, runs and growth.jsonl"""
    captions: tuple[int, ...] = (10_000, 100_000, 1_000_000, 5_000_000)
    """numbers of captions, rising; a picture has five"""
    plot: Path | None = None
    """figure to write"""


def main(options: Options) -> None:
    journal = options.out / "growth.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
    done = {(row["captions"], row["step"]): row for row in map(json.loads, lines)}
    for count in options.captions:
        draw(options.out, count)
        for step, words in steps(options.out, count):
            if (count, step) not in done:
                seconds, size = measure(words)
                row = {"captions": count, "step": step, "seconds": seconds, "bytes": size}
                done[count, step] = row
                with open(journal, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            print(f"{count:,} captions, {step}: {done[count, step]['seconds']:.1f} s", flush=True)
    table = [[done[count, step] for count in options.captions] for step, _ in steps(Path(), 0)]
    print_table(table)
    if options.plot is not None:
        plot(options.plot, table)


def steps(out: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """Yields what each step is called, and its command."""
    data, run = str(out / f"{count}"), str(out / f"{count}-run")
    results = str(out / f"{count}-run" / "results.json")
    yield "labels", [
        "prepro.labels", "--images", str(out / "images"), "--out", data, "--annotations",
        *(f"{data}/{split}.tsv" for split in ("train", *HELD_OUT)),
    ]  # fmt: skip
    yield "features", ["prepro.features", "--data", data, "--encoder", ENCODER, "--weights", "none",
                       "--mode", "square", "--resize", "32", "--crop", "32"]  # fmt: skip
    yield "training, one epoch", [
        "caption.train", "--data", data, "--out", run, "--decoder", "show_tell", "--hidden", "32",
        "--embedding", "32", "--epochs", "1", "--batch-size", "100",
    ]  # fmt: skip
    yield "captions", ["caption.generate", "--run", run, "--split", "test", "--out", results]
    yield "scores", ["eval.score", "--references", f"{data}/labels.json", "--split", "test",
                     "--results", results]  # fmt: skip
    yield "report", ["caption.report", "--run", run, "--results", results,
                     "--out", str(out / f"{count}-run" / "report.html")]  # fmt: skip


def draw(out: Path, captions: int) -> None:
    """Pictures, shared by all sizes, and a .tsv of each split; train.tsv is the last to appear."""
    folder, count = out / f"{captions}", captions // CAPTIONS
    if (folder / "train.tsv").exists():
        return
    folder.mkdir(exist_ok=True)
    names = [_name(i) for i in range(count)]
    for i in range(0, count, FOLDER):
        _link(out / "images", names[i : i + FOLDER], i)
    first = 0
    for split, most in (HELD_OUT | {"train": count}).items():
        last = min(first + most, first + count // 10 if split in HELD_OUT else count)
        with whole_file(folder / f"{split}.tsv") as partial, open(partial, "w") as file:
            for start in range(first, last, BLOCK):
                rows = range(start, min(start + BLOCK, last))
                texts = _captions(np.random.default_rng(start), len(rows) * CAPTIONS)
                for j, text in enumerate(texts):
                    file.write(f"{text}\t{names[rows[j // CAPTIONS]]}\n")
        first = last


def _name(number: int) -> str:
    return f"{number // FOLDER:05}/{number:08}.jpg"


def _link(images: Path, names: Sequence[str], seed: int) -> None:
    """A JPEG of noise under each of the names."""
    first = images / names[0]
    first.parent.mkdir(parents=True, exist_ok=True)
    if not first.exists():
        noise = np.random.default_rng(seed).integers(0, 256, (36, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(first)
    have = set(os.listdir(first.parent))
    for name in names[1:]:
        if Path(name).name not in have:
            os.link(first, images / name)


def _captions(rng: np.random.Generator, count: int) -> list[str]:
    """Texts of 8 to 12 words; the word of rank r has a share in proportion to 1 / r."""
    shares = 1 / np.arange(1, len(WORDS) + 1)
    drawn = rng.choice(len(WORDS), (count, 12), p=shares / shares.sum()).tolist()
    lengths = rng.integers(8, 13, count).tolist()
    return [" ".join([WORDS[i] for i in r[:n]]) for r, n in zip(drawn, lengths, strict=True)]


def print_table(table: Sequence[Sequence[Row]]) -> None:
    """Seconds and GB of each step; then what a thousand further captions cost."""
    counts = [f"{row['captions']:,}" for row in table[0]]
    _print_row("captions", counts)
    _print_row("---", ["---"] * len(counts))
    for rows in table:
        _print_row(
            rows[0]["step"], [f"{r['seconds']:,.1f} s, {r['bytes'] / 1e9:.2f}" for r in rows]
        )
    total, peak = (
        [kind(row[key] for row in column) for column in zip(*table, strict=True)]
        for kind, key in ((sum, "seconds"), (max, "bytes"))
    )
    _print_row("all", [f"{s:,.1f} s, {m / 1e9:.2f}" for s, m in zip(total, peak, strict=True)])
    print("\nA thousand further captions: milliseconds, kB")
    _print_row("captions", [f"{a} to {b}" for a, b in pairwise(counts)])
    _print_row("---", ["---"] * (len(counts) - 1))
    for rows in table:
        _print_row(rows[0]["step"], [_growth(a, b) for a, b in pairwise(rows)])


def _print_row(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |")


def _growth(one: Row, other: Row) -> str:
    thousands = (other["captions"] - one["captions"]) / 1000
    time, memory = (other[key] - one[key] for key in ("seconds", "bytes"))
    return f"{1000 * time / thousands:,.1f}, {memory / 1000 / thousands:,.1f}"


def plot(path: Path, table: Sequence[Sequence[Row]]) -> None:
    """A line for each step on logarithmic axes, beside the slope of a straight line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    with matplotlib.rc_context(STYLE):
        chart, panels = pyplot.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
        counts = [row["captions"] for row in table[0]]
        for panel, key, unit in zip(panels, ("seconds", "bytes"), (1, 1e9), strict=True):
            for rows, colour, marker in zip(table, COLOURS, MARKERS + "P", strict=False):
                values = [row[key] / unit for row in rows]
                panel.loglog(counts, values, color=colour, marker=marker, label=rows[0]["step"])
            top = max(rows[-1][key] / unit for rows in table)
            line = [top * count / counts[-1] for count in counts]
            panel.loglog(counts, line, "--", color="0.6", label="in proportion")
            panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(ticker.NullFormatter())
            panel.set_xlabel("captions")
            panel.set_ylabel("seconds" if key == "seconds" else "memory of all processes (GB)")
        chart.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        with whole_file(path) as partial:
            chart.savefig(partial, format=path.suffix.lstrip(".") or "png")
        pyplot.close(chart)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
