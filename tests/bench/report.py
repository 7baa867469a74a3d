"""How large a report of 1,000 photographs is and how long it takes to open, beside an empty page.

    python -m tests.bench.report

Pictures of 640 x 480 with the detail of photographs (noise over gradients), thumbnails as the
report makes them, one caption with attention over 14 x 14 regions each.
"""

import base64
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from caption.gallery import sources
from caption.report import render
from tests.browser.conftest import FLAGS, chromium

WORDS = ["a", "man", "in", "a", "red", "shirt", "rides", "a", "brown", "horse"]


def photographs(folder: Path, count: int) -> list[str]:
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = random.normal(128, 40, (15, 20, 3)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        noise = random.normal(0, 14, (480, 640, 1))
        values = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{i}.jpg", quality=90)
    return [f"{i}.jpg" for i in range(count)]


def content(folder: Path, count: int) -> dict:
    names = photographs(folder, min(count, 100))
    pictures = sources(folder, names, folder / "r.html", "inline")
    looked = base64.b64encode(bytes(range(196)) * len(WORDS)).decode()
    caption = {
        "text": " ".join(WORDS), "words": WORDS, "probabilities": [0.5] * len(WORDS), "faults": [],
        "attention": {"greatest": [0.1] * len(WORDS), "bytes": looked}, "cider": 1.0,
    }  # fmt: skip
    rows = [
        {"src": p.src, "width": 640, "height": 480, "trouble": "", "id": i, "file": f"{i}.jpg",
         "captions": [caption], "references": [" ".join(WORDS)] * 5, "box": [0.1, 0, 0.8, 1]}
        for i, p in ((i, pictures[i % len(pictures)]) for i in range(count))
    ]  # fmt: skip
    health = dict.fromkeys(
        ("unique", "novel", "bad_endings", "repeated", "empty", "vocabulary",
         "training_vocabulary_used", "mean_length"), 1,
    )  # fmt: skip
    run = {"name": "bench", "captions": "", "origin": {}, "decoding": {}, "config": {}}
    return {
        "split": "test", "data": "bench", "runs": [run], "curves": None, "scores": [{}],
        "comparison": None, "health": [health], "warnings": [], "rows": rows,
        "provenance": {"images": count, "references": 5 * count},
    }  # fmt: skip


def opening(browser, path: Path) -> float:
    """Seconds from the address to the first cards, their pictures decoded."""
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.evaluate(
        """Promise.all([...document.querySelectorAll(".card img")].slice(0, 4)
             .map((img) => img.decode()))"""
    )
    taken = time.perf_counter() - start
    page.close()
    return taken


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        (folder / "empty.html").write_text("<!doctype html><p>empty")
        bound = statistics.median(opening(browser, folder / "empty.html") for _ in range(5))
        for count in (1000, 5000):
            path = folder / f"{count}.html"
            path.write_text(render(content(folder, count)))
            taken = statistics.median(opening(browser, path) for _ in range(5))
            size = path.stat().st_size / 1e6
            print(
                f"{count:,} pictures in the page: {size:.1f} MB, open in {taken:.2f} s; "
                f"an empty page {bound:.2f} s; ratio {taken / bound:.0f}"
            )
        browser.close()


if __name__ == "__main__":
    main()
