"""The page that captions pictures in a browser, beside the graphs of an exported captioner.

In: the folder of an export, and where onnxruntime-web comes from: an unpacked package, whose two
files are copied, or its public CDN. Out: index.html, captioner.js, captioner.css, and a section of
README.md.

The page loads its runtime in a worker, and the worker runs nothing whose hash is not the one in
index.html. The script is that of the page in a document and that of the worker elsewhere.
"""

import html
import json
import shutil
from pathlib import Path

from caption.onnx.folder import file_facts
from caption.onnx.page_template import page_html
from eval.files import write_text

OWN = Path(__file__).with_name("page")
CAPTION = Path(__file__).parents[1]
PAGE_SCRIPTS = (
    CAPTION / "reporting/attention.js",
    CAPTION / "serving/models.js", CAPTION / "serving/queue.js", OWN / "captioning.js",
    CAPTION / "serving/history.js", CAPTION / "serving/cards.js", CAPTION / "serving/camera.js",
    CAPTION / "serving/adding.js", OWN / "start.js",
)  # fmt: skip
WORKER_SCRIPTS = tuple(
    OWN / f"{name}.js" for name in ("resize", "picture", "files", "search", "model", "worker")
)
STYLES = (CAPTION / "reporting/page.css", CAPTION / "serving/demo.css")
PARTS = {"script": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
"""the files of onnxruntime-web that the page needs, without WebGPU and threads"""
CDN = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
PINNED = {
    "script": (73_054, "sha256-EeZL2P/hG9GiovDWJ1/fu7pyYvC3a5m1PSKKiiLvPZA="),
    "wasm": (14_239_897, "sha256-M5jBDQfSKb2Rs2RUjhMODlGo5XBLiMfAg+u+t4hC3uI="),
}
"""the size and the hash of each file of the CDN"""


def write_page(folder: Path, runtime: Path | None = None) -> None:
    """Write the page into the folder of an export.

    FileNotFoundError for a `runtime` without the two files.
    """
    files = _copied(folder, runtime) if runtime else _of_the_cdn()
    policy = {
        "default-src": "'none'", "script-src": "'self'", "worker-src": "'self'",
        "style-src": "'self'", "img-src": "'self' blob: data:", "media-src": "'self' blob:",
        "connect-src": "'self'" if runtime else f"'self' {CDN}", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    holes = {
        "policy": html.escape("; ".join(f"{name} {value}" for name, value in policy.items())),
        "runtime": json.dumps(files).replace("<", "\\u003c"),
    }
    write_text(folder / "index.html", page_html("exported", **holes))
    write_text(folder / "captioner.js", script())
    write_text(folder / "captioner.css", _joined(STYLES))
    readme = folder / "README.md"
    write_text(readme, readme.read_text("utf-8") + (OWN / "README.md").read_text("utf-8"))


def script() -> str:
    """The one script."""
    page, worker = _joined(PAGE_SCRIPTS), _joined(WORKER_SCRIPTS)
    both = f"if (self.document) {{\n{page}}} else {{\n{worker}}}\n"
    return '"use strict";\n' + both.replace('"use strict";\n', "")


def _joined(paths: tuple[Path, ...]) -> str:
    return "".join(path.read_text("utf-8") for path in paths)


def _of_the_cdn() -> dict:
    facts = {part: dict(zip(("bytes", "integrity"), PINNED[part], strict=True)) for part in PARTS}
    return {part: {"src": CDN + name, **facts[part]} for part, name in PARTS.items()}


def runtime_folder(package: Path) -> Path:
    """Where an unpacked onnxruntime-web has the two files. FileNotFoundError without them."""
    dist = package / "dist" if (package / "dist").is_dir() else package
    for name in PARTS.values():
        if not (dist / name).is_file():
            raise FileNotFoundError(
                f"{dist / name}: no such file; --runtime takes an unpacked onnxruntime-web package"
            )
    return dist


def _copied(folder: Path, package: Path) -> dict:
    """Copies the runtime into folder/runtime."""
    dist = runtime_folder(package)
    (folder / "runtime").mkdir()
    for name in PARTS.values():
        shutil.copyfile(dist / name, folder / "runtime" / name)
    facts = {part: file_facts(folder / "runtime" / name) for part, name in PARTS.items()}
    return {part: {"src": f"runtime/{PARTS[part]}", **fact} for part, fact in facts.items()}
