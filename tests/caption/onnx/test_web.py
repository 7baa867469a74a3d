"""The page of an export, with a runtime that lies beside it."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest

import caption
from caption.onnx.page_template import page_html
from caption.onnx.web import CDN, PARTS, PINNED, write_page

PACKAGE = Path(caption.__file__).parent


@pytest.mark.parametrize("inside", ["", "dist"])
def test_the_runtime_is_copied_and_its_hash_is_in_the_page(tmp_path, inside):
    package, folder = tmp_path / "package", tmp_path / "out"
    (package / inside).mkdir(parents=True)
    folder.mkdir()
    (folder / "README.md").touch()
    for name in PARTS.values():
        (package / inside / name).write_bytes(name.encode())
    write_page(folder, package)
    page = (folder / "index.html").read_text("utf-8")
    for name in PARTS.values():
        assert (folder / "runtime" / name).read_bytes() == name.encode()
        digest = base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
        assert f"sha256-{digest}" in page and f"runtime/{name}" in page


def test_without_a_runtime_the_page_names_the_cdn_and_its_hashes(tmp_path):
    """The sizes and hashes are those of onnxruntime-web 1.30.0 (jsdelivr); the policy allows it."""
    (tmp_path / "README.md").write_text("Before.\n")
    write_page(tmp_path)
    page = html.unescape((tmp_path / "index.html").read_text("utf-8"))
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', page)[1]
    assert f"connect-src 'self' {CDN};" in policy and "default-src 'none'" in policy
    assert {part: size for part, (size, _) in PINNED.items()} == {
        "script": 73_054, "wasm": 14_239_897,
    }  # fmt: skip
    for part, name in PARTS.items():
        size, integrity = PINNED[part]
        facts = {"src": CDN + name, "bytes": size, "integrity": integrity}
        assert json.dumps(facts) in page
    assert not (tmp_path / "runtime").exists()
    readme = (tmp_path / "README.md").read_text("utf-8")
    assert readme.startswith("Before.\n") and "## The page" in readme


def test_the_script_and_the_style_are_all_of_their_parts(tmp_path):
    """Those of the page in a document, those of the worker elsewhere."""
    (tmp_path / "README.md").touch()
    write_page(tmp_path)
    text = (tmp_path / "captioner.js").read_text("utf-8")
    assert text.startswith('"use strict";\nif (self.document) {\n')
    assert text.count('"use strict"') == 1
    places = []
    for name in (
        "reporting/attention", "serving/models", "serving/queue", "onnx/page/captioning",
        "serving/history", "serving/cards", "serving/camera", "serving/adding", "onnx/page/start",
        "onnx/page/resize", "onnx/page/picture", "onnx/page/files", "onnx/page/search",
        "onnx/page/model", "onnx/page/worker",
    ):  # fmt: skip
        body = (PACKAGE / f"{name}.js").read_text("utf-8").replace('"use strict";\n', "")
        places.append(text.index(body))
    assert places == sorted(places)
    assert "} else {\n" in text[places[8] : places[9]]
    style = (tmp_path / "captioner.css").read_text("utf-8")
    for name in ("reporting/page.css", "serving/demo.css"):
        assert (PACKAGE / name).read_text("utf-8") in style


def test_an_exported_page_has_no_part_of_a_served_one():
    exported, served = (page_html(kind, policy="P", runtime="R") for kind in ("exported", "served"))
    assert exported != served
    for page in (exported, served):
        assert "{{" not in page and "}}" not in page
