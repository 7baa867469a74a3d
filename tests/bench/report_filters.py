"""How large a report is, when it is visible, and how long each filter takes, in a real browser.

    python -m tests.bench.report_filters report.html --word dog

Milliseconds from the change of a control to the next painted frame, the median of several; those of
the histogram from the end of the drag.
"""

import argparse
import statistics
from pathlib import Path

from tests.bench.report import opening
from tests.browser.conftest import FLAGS, chromium

# From the event until the frame after the one that shows its effect begins.
CHANGE = """async ([id, value]) => {
  const control = document.getElementById(id);
  control.value = value;
  const start = performance.now();
  control.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""
DRAG = """async () => {
  const box = document.getElementById("histogram");
  document.getElementById("histogram-box").open = true;
  const { left, top, width } = box.getBoundingClientRect();
  const at = (share) => ({ clientX: left + share * width, clientY: top + 5, pointerId: 1 });
  box.setPointerCapture = () => {};
  box.dispatchEvent(new PointerEvent("pointerdown", at(0.1)));
  const start = performance.now();
  box.dispatchEvent(new PointerEvent("pointerup", at(0.4)));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def changes(page, word: str) -> list[tuple[str, str, str]]:
    """(name, control, value) of each filter."""
    options = {
        name: page.locator(f"#{name} option").all_text_contents()
        for name in ("order", "kind", "field")
    }
    found = [("search a word", "search", word), ("search a phrase", "search", f'"a {word}"')]
    found += [(f"{n}: {v}", n, v) for n, every in options.items() for v in every]
    return [*found, ("least words", "least", "9"), ("most words", "most", "12")]


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=Path)
    parser.add_argument("--word", default="dog")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        opened = [opening(browser, options.report.resolve()) for _ in range(options.times)]
        shown, taken = (statistics.median(one) for one in zip(*opened, strict=True))
        size = options.report.stat().st_size / 1e6
        print(f"{size:.1f} MB, pictures to see after {shown:.2f} s, all read after {taken:.2f} s")
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(options.report.resolve().as_uri())
        for name, control, value in changes(page, options.word):
            spent = []
            for _ in range(options.times):
                page.click("#reset")
                spent.append(page.evaluate(CHANGE, [control, value]))
            print(f"{statistics.median(spent):6.0f} ms  {name}")
        spent = []
        for _ in range(options.times):
            page.click("#reset")
            spent.append(page.evaluate(DRAG))
        print(f"{statistics.median(spent):6.0f} ms  histogram")
        browser.close()


if __name__ == "__main__":
    main()
