"""A real browser, pages that fail a test when they complain, and what they are opened on."""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from caption.reporting.attention_overlay import View, attention_heatmap
from tests.caption import tiny_runs as maker

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
LOOKS = [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
SIZES = {"wide": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = (shutil.which(name) for name in (os.environ.get("CHROMIUM", ""), *names) if name)
    return next(filter(None, found), None)


@pytest.fixture(scope="package")
def browser() -> Iterator:
    """One Chromium for all tests here; it is gone before others need an event loop."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra `dev`)")
    path = chromium()
    if path is None:
        missed = pytest.fail if os.environ.get("CHROMIUM_REQUIRED") else pytest.skip
        missed("no Chromium: apt-get install chromium, or name one in $CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Watched:
    """A page, and what must not happen on it."""

    page: object
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """open_page(url, size, scheme) -> Page; the test fails when the page wrote an error.

    A status that the server is meant to answer with is none.
    """
    opened: list[Watched] = []

    def open_one(url: str, size: str = "wide", scheme: str = "light"):
        context = browser.new_context(
            viewport=SIZES[size], color_scheme=scheme, has_touch=size == "phone",
            permissions=["camera"] if url.startswith("http") else [],
        )  # fmt: skip
        context.set_default_timeout(120_000)  # milliseconds; a busy machine is no failure
        watched = Watched(context.new_page())
        opened.append(watched)
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.on("console", lambda m: _complain(m, watched))
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.goto(url)
        return watched.page

    yield open_one
    complaints = [text for watched in opened for text in watched.complaints]
    home = ("file:", "data:", "blob:", "http://127.0.0.1")
    strangers = [url for w in opened for url in w.requests if not url.startswith(home)]
    for watched in opened:
        watched.page.context.close()
    assert complaints == [] and strangers == []


def _complain(message, watched: Watched) -> None:
    if message.type == "error" and "the server responded with" not in message.text:
        watched.complaints.append(message.text)


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> maker.Tiny:
    return maker.make(tmp_path_factory.mktemp("pages"), ("topdown", "show_tell"))


@pytest.fixture(scope="package")
def demo(tiny: maker.Tiny) -> Iterator[str]:
    """The address of a demo that runs."""
    pytest.importorskip("uvicorn", reason="needs the extra `demo`")
    from caption.serving.server import application
    from tests.caption.serving.running_server import served

    with served(application(tiny.captioner())) as port:
        yield f"http://127.0.0.1:{port}/"


def serious(page) -> list[str]:
    """What axe-core finds that is serious or critical, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['help']}: {v['nodes'][0]['html'][:120]}"
        for v in violations
        if v["impact"] in ("serious", "critical")
    ]


def light_of(weights, view: dict) -> list[float]:
    """What LIGHT has to find where `weights` (R,) are drawn."""
    side, size = math.isqrt(len(weights)), 320
    spread = attention_heatmap(np.reshape(weights, (side, side)), View(**view), size, size)
    left, top, across, down = view["grid"]
    middles = (np.arange(side) + 0.5) / side
    columns, rows = (
        (size * (a + b * middles)).astype(int) for a, b in ((left, across), (top, down))
    )
    return spread[np.ix_(rows, columns)].flatten().tolist()


def overflow(page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.scrollingElement.scrollWidth - innerWidth")


# The darkest place of a canvas, 0 (clear) to 255.
DARKEST = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  .data.reduce((darkest, value, i) => i % 4 === 3 ? Math.max(darkest, value) : darkest, 0)"""

# The light that a canvas over a picture lets through at the centre of each of side * side regions.
LIGHT = """(canvas, [side, box]) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const at = (i, axis) => {
    const size = axis ? canvas.height : canvas.width;
    return Math.floor((box[axis] + box[2 + axis] * (i + 0.5) / side) * size);
  };
  const light = [];
  for (let row = 0; row < side; row += 1)
    for (let column = 0; column < side; column += 1)
      light.push(1 - data[4 * (at(row, 1) * canvas.width + at(column, 0)) + 3] / 255 / 0.75);
  return light;
}"""
