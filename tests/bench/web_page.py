"""The page of caption.export --web in Chromium beside caption.onnx: captions and seconds a picture.

    python -m tests.bench.web_page                  photographs of ../shared or $CAPTION_SHARED
    python -m tests.bench.web_page --images photos --count 20 --storage int8

caption.onnx reads each photograph twice: decoded whole, which is what a browser does, and as
caption.sample reads it, which decodes a JPEG of more than twice the size at half of its size.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from caption.captioner import Captioner
from caption.inference.image_paths import images_in_folder
from caption.onnx.export import export_folder
from caption.onnx.session import OnnxCaptioner
from caption.onnx.web import write_page
from prepro.images import open_rgb
from tests.browser.conftest import FLAGS, chromium
from tests.browser.static_site import served, unpack_runtime
from tests.conftest import shared_folder

BEAM = 5


def captions_of_the_page(site: Path, pictures: list[Path]) -> dict[str, str]:
    """The best caption by file name; prints how long it took."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright, served(site) as address:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(address)
        expect(page.locator("#model")).to_contain_text("knows", timeout=120_000)
        print(f"page: ready after {time.perf_counter() - start:.2f} s")
        page.context.set_offline(True)
        page.locator("#options summary").click()
        page.fill("#beam", str(BEAM))
        page.set_input_files("#files", [str(path) for path in pictures])
        done = f"{len(pictures)} pictures captioned."
        expect(page.locator("#status")).to_contain_text(done, timeout=600_000)
        spent = [float(text.split()[-2]) for text in page.locator(".state").all_text_contents()]
        print(f"page: {statistics.median(spent):.2f} s/picture, median")
        with page.expect_download() as saved:
            page.click("#json")
        rows = json.loads(Path(saved.value.path()).read_text())
        browser.close()
    return {row["file"]: row["caption"] for row in reversed(rows)}  # the first row is the best


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--run", default="flickr8k")
    parser.add_argument("--storage", default="float16")
    options = parser.parse_args()
    folder = options.images or (shared_folder() and shared_folder() / "data/photos")
    if folder is None:
        sys.exit("tests.bench.web_page: give --images FOLDER")
    pictures = images_in_folder(folder)[: options.count]
    with tempfile.TemporaryDirectory() as temporary:
        site = Path(temporary) / "site"
        page = partial(write_page, runtime=unpack_runtime(Path(temporary)))
        export_folder(Captioner.load(options.run), site, storage=options.storage, page=page)
        found = captions_of_the_page(site, pictures)
        exported = OnnxCaptioner.load(site, 1)
        for name, read in (("whole", open_rgb), ("as caption.sample reads them", str)):
            same = [
                exported.captions(read(path), beam=BEAM, n=3)[0].text == found[path.name]
                for path in pictures
            ]
            print(f"photographs decoded {name}: {sum(same)} of {len(same)} captions equal")


if __name__ == "__main__":
    main()
