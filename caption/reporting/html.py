"""What a report found in, one HTML page out.

    text = render(caption.report.gather(options))

All that is data (captions, names) reaches the page as JSON and becomes text there, never markup.
What is large, a picture's bytes and its attention, lies in an element of its own, and those that
the page shows first come first: it is at work before the browser has read the rest.
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

PAGE_FILES = Path(__file__).parent
SCREENFUL = 48  # pictures that the page draws at once, as report.js has it


def render(content: dict) -> str:
    """The page. No byte of `content` can end a script element or start another."""
    parted = [_parted(index, row) for index, row in enumerate(content["rows"])]
    parts = [parted[index][1] for index in _as_shown(content["rows"])]
    script = "\n".join(
        (PAGE_FILES / name).read_text("utf-8") for name in ("attention.js", "report.js")
    )
    title = " against ".join(run["name"] for run in content["runs"])
    holes = {
        "title": html.escape(title.encode("utf-8", "backslashreplace").decode()),
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": (PAGE_FILES / "page.css").read_text("utf-8"),
        "data": _json(content | {"rows": [row for row, _ in parted]}),
        "first parts": "\n".join(parts[:SCREENFUL]),
        "script": script,
        "other parts": "\n".join(parts[SCREENFUL:]),
    }
    page = (PAGE_FILES / "report.html").read_text("utf-8")
    return re.sub(r"\{\{([a-z ]+)\}\}", lambda hole: holes[hole[1]], page)


def _parted(index: int, row: dict) -> tuple[dict, str]:
    """A row without what is large, and the element that holds that."""
    part = {"src": row["src"], "attention": [c["attention"] for c in row["captions"]]}
    captions = [
        {name: value for name, value in caption.items() if name != "attention"}
        | {"looked": caption["attention"] is not None}
        for caption in row["captions"]
    ]
    light = {name: value for name, value in row.items() if name != "src"}
    element = f'<script type="application/json" id="part-{index}">{_json(part)}</script>'
    return light | {"captions": captions, "part": index}, element


def _as_shown(rows: list[dict]) -> list[int]:
    """The rows' places in the order in which the page opens, which report.js decides."""

    def key(index: int) -> float:
        first, *other = (-1 if c["cider"] is None else c["cider"] for c in rows[index]["captions"])
        return other[0] - first if other else first

    return sorted(range(len(rows)), key=key)


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
