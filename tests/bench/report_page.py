"""The size of a report, how long it takes to be seen, and how long each filter takes.

    python -m tests.bench.report_page report.html     a file that caption.report wrote
    python -m tests.bench.report_page                 5,000 pictures of tests.bench.report, two runs

Chromium, 1280 x 800; medians of TIMES. A filter takes from its event to the next painted frame.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from caption.reporting.html import render
from tests.bench.report import CHANGE, content, middle
from tests.browser.conftest import FLAGS, chromium

TIMES = 5
BAR = "#histogram button:nth-child(3)"
PRESSED = """async (selector) => {
  const start = performance.now();
  document.querySelector(selector).click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def filters(page) -> dict[str, float]:
    """Milliseconds of each filter, the median."""
    others = page.locator("#order option").all_text_contents()[1:]
    changes = {f"order, {name}": ("order", name) for name in others}
    changes |= {"search, one word": ("search", "man"), "search, a phrase": ("search", '"a man in"')}
    kinds = ("CIDEr-D below 0.5", "repetition")
    changes |= {f"show, {name}": ("kind", name) for name in kinds}
    wrongly = next(n for n in page.locator("#field option").all_text_contents() if "wrongly" in n)
    changes |= {f"search in {wrongly}": ("field", wrongly), "length": ("least", "10")}
    found = {}
    for name, change in changes.items():
        spent = []
        for _ in range(TIMES):
            if change[0] == "field":
                page.evaluate(CHANGE, ["search", "dog"])
            spent.append(page.evaluate(CHANGE, list(change)))
            page.evaluate(PRESSED, "#reset")
        found[name] = statistics.median(spent)
    all_again: list[float] = []
    spent = []
    for _ in range(TIMES):
        spent.append(page.evaluate(PRESSED, BAR))
        all_again.append(page.evaluate(PRESSED, "#reset"))
    return found | {
        "histogram": statistics.median(spent), "show all": statistics.median(all_again)
    }  # fmt: skip


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        path = Path(sys.argv[1]).resolve() if sys.argv[1:] else Path(name) / "report.html"
        if not sys.argv[1:]:
            path.write_text(render(content(Path(name), 5000)))
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        shown, taken = middle(browser, path, TIMES)
        print(
            f"{path.stat().st_size / 1e6:.1f} MB, seen after {shown:.2f} s, "
            f"read after {taken:.2f} s"
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(path.as_uri())
        for name, spent in filters(page).items():
            print(f"{spent:6.0f} ms  {name}")
        browser.close()


if __name__ == "__main__":
    main()
