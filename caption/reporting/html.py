"""Render the content of a report as one HTML page.

    text = render(caption.report.gather(options))

Data (captions, names) reaches the page as JSON and becomes text there, never markup. Each picture
and its attention are in an element of their own, in the order in which the page shows them, so that
the page works before the browser has read all of it.
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

PAGE_FILES = Path(__file__).parent
SCRIPTS = ("attention.js", "tables.js", "gallery.js", "filters.js", "report.js")
STYLES = ("page.css", "report.css")
FIRST_ROWS = 48  # rows that report.js draws first


def render(content: dict) -> str:
    """The page. No byte of `content` can end a script element or start another."""
    order = _display_order(content["rows"])
    places = {index: place for place, index in enumerate(order)}
    split_rows = [_split_row(i, places[i], row) for i, row in enumerate(content["rows"])]
    parts = [split_rows[index][1] for index in order]
    script = "\n".join((PAGE_FILES / name).read_text("utf-8") for name in SCRIPTS)
    title = " against ".join(run["name"] for run in content["runs"])
    holes = {
        "title": html.escape(title.encode("utf-8", "backslashreplace").decode()),
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": "\n".join((PAGE_FILES / name).read_text("utf-8") for name in STYLES),
        "data": _json(content | {"rows": [row for row, _ in split_rows]}),
        "first parts": "\n".join(parts[:FIRST_ROWS]),
        "script": script,
        "other parts": "\n".join(parts[FIRST_ROWS:]),
    }
    page = (PAGE_FILES / "report.html").read_text("utf-8")
    return re.sub(r"\{\{([a-z ]+)\}\}", lambda hole: holes[hole[1]], page)


def _split_row(index: int, place: int, row: dict) -> tuple[dict, str]:
    """A row without its picture and attention, and the element that contains these."""
    part = {"src": row["src"], "attention": [c["attention"] for c in row["captions"]]}
    captions = [
        {name: value for name, value in caption.items() if name != "attention"}
        | {"looked": caption["attention"] is not None}
        for caption in row["captions"]
    ]
    small = {name: value for name, value in row.items() if name != "src"}
    element = f'<script type="application/json" id="part-{index}">{_json(part)}</script>'
    return small | {"captions": captions, "part": index, "place": place}, element


def _display_order(rows: list[dict]) -> list[int]:
    """The indices of the rows: where the first run is worst, or worse than the second by most.

    filters.js shows them in this order at first, by the `place` of each row.
    """

    def key(index: int) -> float:
        first, *other = (-1 if c["cider"] is None else c["cider"] for c in rows[index]["captions"])
        return first - other[0] if other else first

    return sorted(range(len(rows)), key=key)


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
