"""The page that captions pictures, which caption.demo serves and caption.export --web writes.

In: whether a program serves it, and the text of its holes. Out: HTML.

page/index.html has {{name}} where text goes, {{#served}}...{{/served}} around what only the served
page has, and {{#exported}}...{{/exported}} around what only the exported one has.
"""

import re
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page") / "index.html"
PART = re.compile(r"[ \t]*\{\{#(\w+)\}\}\n?(.*?)[ \t]*\{\{/\1\}\}(\n?)", re.DOTALL)


def page_html(kind: str, **holes: str) -> str:
    """The page; `kind` is "served" or "exported", `holes` are HTML. KeyError for a missing hole."""

    def kept(part: re.Match) -> str:
        name, text, end = part.groups()
        return "" if name != kind else text if text.endswith("\n") else text + end

    text = PART.sub(kept, TEMPLATE.read_text("utf-8"))
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: holes[hole[1]], text)
