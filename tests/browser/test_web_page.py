"""The page of caption.export --web in a browser: captions as caption.onnx's; damage is named."""

import base64
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caption import export
from caption.onnx.session import OnnxCaptioner
from caption.onnx.web import CDN, OWN, PARTS, write_page
from prepro.transform import Transform
from tests.browser.conftest import DARKEST, LOOKS, SIZES, overflow, serious
from tests.browser.static_site import PACKAGE, served, unpack_runtime
from tests.browser.test_demo_page import expect_text
from tests.caption import tiny_runs as maker

DECODERS = ("topdown", "transformer")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Path:
    """An unpacked onnxruntime-web package, of the version that the page's CDN link names."""
    try:
        return unpack_runtime(tmp_path_factory.mktemp("runtime"))
    except (OSError, subprocess.SubprocessError):
        missed = pytest.fail if os.environ.get("CHROMIUM_REQUIRED") else pytest.skip
        missed(f"`npm pack {PACKAGE}` failed: no npm or no network")


@pytest.fixture(scope="module")
def sites(browser, runtime, tmp_path_factory) -> Path:
    """A folder with the page of each decoder; more may be added."""
    root = tmp_path_factory.mktemp("sites")
    tiny = maker.make(root / "tiny", DECODERS)
    for name in DECODERS:
        export.main(export.Options(root / name, tiny.runs[name], web=True, runtime=runtime))
    return root


@pytest.fixture(scope="module")
def address(sites) -> Iterator[str]:
    with served(sites) as found:
        yield found


@pytest.fixture(scope="module")
def pictures(sites) -> list[str]:
    """Scenes, a tall photograph-sized picture of noise, and one that is transparent."""
    noise = np.random.default_rng(0).integers(0, 256, (500, 333, 3), dtype=np.uint8)
    Image.fromarray(noise).save(sites / "tall.png")
    scenes = sorted((sites / "tiny/data/images").iterdir())
    return [str(path) for path in (*scenes[:4], sites / "tall.png")]


def damaged(sites: Path, name: str, file: str, change) -> str:
    """A copy of the topdown page where `change` was made to the bytes of a file."""
    copy = sites / name
    shutil.copytree(sites / "topdown", copy, copy_function=os.link)
    data = (copy / file).read_bytes()
    (copy / file).unlink()
    changed = change(data)
    if changed is not None:
        (copy / file).write_bytes(changed)
    return name


@pytest.mark.parametrize("name", DECODERS)
def test_captions_are_those_of_caption_onnx_without_a_network(
    open_page, sites, address, pictures, name
):
    page = open_page(f"{address}/{name}/")
    expect_text(page, "#model", "knows")
    page.context.set_offline(True)
    page.locator("#options summary").click()
    page.fill("#beam", "3")
    page.set_input_files("#files", pictures)
    expect_text(page, "#status", f"Done. {len(pictures)} pictures captioned.")
    with page.expect_download() as saved:
        page.click("#json")
    rows = json.loads(Path(saved.value.path()).read_text())
    exported = OnnxCaptioner.load(sites / name, 1)
    wanted = [(Path(p).name, c) for p in pictures for c in exported.captions(p, beam=3, n=3)]
    assert [(row["file"], row["caption"]) for row in rows] == [(f, c.text) for f, c in wanted]
    log_probs = [c.log_prob for _, c in wanted]
    assert [row["log_prob"] for row in rows] == pytest.approx(log_probs, abs=5e-3)


def test_greedy_captions_attention_a_bad_picture_and_the_camera(
    open_page, sites, address, pictures, tmp_path
):
    page = open_page(f"{address}/topdown/")
    expect_text(page, "#model", "knows")
    page.locator("#options summary").click()
    page.fill("#beam", "1")
    page.fill("#n", "1")
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    words = page.locator(".card .word")
    (best,) = OnnxCaptioner.load(sites / "topdown", 1).captions(pictures[0], beam=1, n=1)
    assert words.all_text_contents() == list(best.words)
    words.first.focus()
    page.keyboard.press("End")
    assert page.locator(".card canvas").evaluate(DARKEST) > 0

    bad = tmp_path / "page.jpg"
    bad.write_bytes(b"<html>")
    page.set_input_files("#files", [str(bad), pictures[1]])
    expect_text(page, "#status", "1 picture captioned, 1 failed.")
    expect_text(page, ".state.failed", "not a picture that this browser can read")

    page.click("#live")
    expect_text(page, "#rate", "captions a second")
    assert page.locator("#now .word").count() > 0
    page.click("#stop")
    assert not page.locator("#camera").is_visible()


def test_the_page_is_small(sites):
    """int8 graphs of the model in the box leave 80 kB of 10 MB."""
    names = ("index.html", "captioner.js", "captioner.css", "README.md")
    assert sum((sites / "topdown" / name).stat().st_size for name in names) < 65_000


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("step.onnx", lambda _: None, "step.onnx is missing (status 404)"),
        ("encoder.onnx", cut, "encoder.onnx has"),
        ("begin.onnx", flip, "begin.onnx is damaged"),
        ("captioner.json", cut, "captioner.json is not JSON"),
        (
            "captioner.json",
            lambda data: data.replace(b'"short"', b'"tall"'),
            'no valid "transform"',
        ),
        ("runtime/ort-wasm-simd-threaded.wasm", cut, "ort-wasm-simd-threaded.wasm has"),
        ("runtime/ort.wasm.bundle.min.mjs", flip, "ort.wasm.bundle.min.mjs is damaged"),
    ],
)
def test_a_damaged_file_is_named(
    open_page, sites, address, pictures, tmp_path, file, change, words
):
    name = damaged(sites, tmp_path.name, file, change)
    page = open_page(f"{address}/{name}/")
    expect_text(page, "#model", words)
    page.set_input_files("#files", pictures[0])
    expect_text(page, ".state.failed", words)


def test_hostile_words_stay_text(open_page, sites, address, pictures, tmp_path):
    evil = "<img src=x onerror='window.hit = 1'></script>"

    def change(data: bytes) -> bytes:
        about = json.loads(data)
        return json.dumps(about | {"words": [evil] * len(about["words"])}).encode()

    name = damaged(sites, tmp_path.name, "captioner.json", change)
    page = open_page(f"{address}/{name}/")
    expect_text(page, "#model", "knows")
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    assert set(page.locator(".card .word").all_text_contents()) == {evil}
    assert page.evaluate("window.hit") is None


def test_every_look_is_accessible(open_page, address, pictures):
    page = open_page(f"{address}/topdown/")
    expect_text(page, "#model", "knows")
    for cards in (0, 2):
        if cards:
            page.set_input_files("#files", pictures[:cards])
            expect_text(page, "#status", "Done.")
        for size, scheme in LOOKS:
            page.set_viewport_size(SIZES[size])
            page.emulate_media(color_scheme=scheme)
            assert overflow(page) <= 0 and serious(page) == []


@pytest.mark.parametrize("honest", [True, False])
def test_the_runtime_of_the_cdn_is_checked(browser, sites, address, runtime, tmp_path, honest):
    """Without --runtime the page asks the CDN, and does not run what has another hash."""
    name = damaged(sites, tmp_path.name, "index.html", lambda data: data)
    write_page(sites / name)
    context, asked = browser.new_context(), []

    def answer(route):
        asked.append(route.request.url)
        data = (runtime / "dist" / route.request.url.rpartition("/")[2]).read_bytes()
        allowed = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(body=data if honest else flip(data), headers=allowed)

    context.route(f"{CDN}**", answer)
    page = context.new_page()
    page.goto(f"{address}/{name}/")
    expect_text(page, "#model", "knows" if honest else "is damaged")
    assert sorted(asked) == sorted(CDN + part for part in PARTS.values())
    context.close()


READ = """async ([data, type, transform]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const { pixels } = await read(new Blob([bytes], { type }), transform);
  return [...pixels];
}"""


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(50, 70), (301, 700), (640, 333), (64, 64)], ids=str)
def test_pixels_are_those_of_pillow(browser, size, form):
    """Enlarged and made smaller, rows first and columns first."""
    page = browser.new_page()
    for name in ("resize", "picture"):
        page.add_script_tag(path=OWN / f"{name}.js")
    values = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    data = base64.b64encode(file.getvalue()).decode()
    for transform in (
        Transform("square", 64, 64, "bicubic"), Transform("short", 72, 64),
        Transform("short", 67, 64, "bicubic", rounding="ceil"),
    ):  # fmt: skip
        found = page.evaluate(READ, [data, f"image/{form.lower()}", transform.to_dict()])
        wanted = transform.pixels(Image.open(file)).flatten().tolist()
        assert found == wanted
    page.close()
