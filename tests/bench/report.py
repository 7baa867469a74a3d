"""How large reports are, how long they take to open, and how smooth they are once open.

    python -m tests.bench.report

Photographs of about 500 pixels (Flickr8k's, in ../shared/data/photos; where they are not there,
made ones), two runs with attention over 14 x 14 regions, in the report's own page and a real
browser: 1,000 pictures, which the page carries, and 5,000, which it links. Beside an empty page.
"""

import base64
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from caption.reporting.attention_overlay import View
from caption.reporting.html import render
from caption.reporting.thumbnails import page_images
from tests.browser.conftest import FLAGS, chromium
from tests.conftest import shared_folder

SHARED = shared_folder()
REAL = SHARED / "data/photos" if SHARED else Path("none")
VIEW = View((0.1, 0, 0.8, 1), (0.1, 0, 0.8, 1))._asdict()
WORDS = ["a", "man", "in", "a", "red", "shirt", "rides", "a", "brown", "horse"]
SHOWN = """async () => {
  while (document.readyState === "loading" && !document.querySelector(".card img"))
    await new Promise((done) => setTimeout(done, 5));
  await Promise.all([...document.querySelectorAll(".card img")].slice(0, 4)
    .map((img) => img.decode()));
}"""
# Milliseconds until the page has drawn what a change of the search or the order asks for.
CHANGE = """async ([id, value]) => {
  const start = performance.now();
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""
# Scroll for two seconds, a screenful a tenth of a second: milliseconds between frames, sorted.
SCROLL = """async () => {
  const frames = [];
  const end = performance.now() + 2000;
  for (let last = performance.now(); last < end;) {
    const now = await new Promise(requestAnimationFrame);
    window.scrollBy(0, (now - last) / 100 * innerHeight);
    frames.push(now - last);
    last = now;
  }
  return frames.sort((a, b) => a - b);
}"""


def photographs(folder: Path, count: int = 200) -> tuple[Path, list[str]]:
    """The real ones, or noise over gradients, which has about as much detail."""
    if REAL.is_dir():
        return REAL, sorted(path.name for path in REAL.glob("*.jpg"))[:count]
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = random.normal(128, 40, (15, 20, 3)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        noise = random.normal(0, 14, (375, 500, 1))
        values = (np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{i}.jpg", quality=90)
    return folder, [f"{i}.jpg" for i in range(count)]


def content(folder: Path, count: int) -> dict:
    """What the page shows: `count` pictures with two captions each."""
    root, names = photographs(folder)
    some = page_images(root, names, folder / "r.html", "inline" if count <= 1000 else "link")
    looked = base64.b64encode(bytes(range(196)) * len(WORDS)).decode()
    caption = {
        "text": " ".join(WORDS), "words": WORDS, "probabilities": [0.5] * len(WORDS), "faults": [],
        "hallucinated": [9],
        "attention": {"greatest": [0.1] * len(WORDS), "bytes": looked},
    }  # fmt: skip
    rows = [
        {"src": p.src, "width": p.width, "height": p.height, "trouble": "", "id": i,
         "file": f"{i}.jpg", "references": [" ".join(WORDS)] * 5, "views": [VIEW] * 2,
         "captions": [caption | {"cider": i * 7 % count / count}, caption | {"cider": 0.5}]}
        for i, p in ((i, some[i % len(some)]) for i in range(count))
    ]  # fmt: skip
    health = dict.fromkeys(
        ("unique", "novel", "bad_endings", "repeated", "empty", "vocabulary",
         "training_vocabulary_used", "mean_length"), 1,
    )  # fmt: skip
    runs = [{"name": n, "captions": "", "origin": {}, "decoding": {}, "config": {}} for n in "ab"]
    return {
        "split": "test", "data": "bench", "runs": runs, "curves": None, "scores": [{}, {}],
        "comparisons": [{}], "words": [], "health": [health] * 3, "warnings": [], "rows": rows,
        "chair": [{"CHAIRs": 1.0, "CHAIRi": 1.0}] * 2, "chair_against": "the references",
        "provenance": {"images": count, "references": 5 * count},
    }  # fmt: skip


def opening(browser, path: Path) -> tuple[float, float]:
    """Seconds from the address to the first cards, their pictures decoded, and to all read."""
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="commit")
    page.evaluate(SHOWN)
    shown = time.perf_counter() - start
    page.wait_for_load_state("load")
    taken = time.perf_counter() - start
    page.close()
    return shown, taken


def middle(browser, path: Path, times: int) -> list[float]:
    """The medians of `opening`."""
    every = [opening(browser, path) for _ in range(times)]
    return [statistics.median(one) for one in zip(*every, strict=True)]


def smoothness(browser, path: Path) -> str:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    order = page.evaluate(CHANGE, ["order", "worst first"])
    search = page.evaluate(CHANGE, ["search", "7.jpg"])
    page.evaluate(CHANGE, ["search", ""])
    frames = page.evaluate(SCROLL)
    page.close()
    return (
        f"order {order:.0f} ms, search {search:.0f} ms, scrolling: {len(frames) / 2:.0f} frames a "
        f"second, 95 % within {frames[int(0.95 * len(frames))]:.0f} ms, worst {frames[-1]:.0f} ms"
    )


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        (folder / "empty.html").write_text("<!doctype html><p>empty")
        _, bound = middle(browser, folder / "empty.html", 5)
        for count in (1000, 5000):
            path = folder / "r.html"
            path.write_text(render(content(folder, count)))
            shown, taken = middle(browser, path, 3)
            print(
                f"{count:,} {'real' if REAL.is_dir() else 'made'} pictures: "
                f"{path.stat().st_size / 1e6:.1f} MB, pictures to see after {shown:.2f} s, "
                f"all read after {taken:.2f} s (an empty page {bound:.2f} s); "
                + smoothness(browser, path)
            )
        browser.close()


if __name__ == "__main__":
    main()
