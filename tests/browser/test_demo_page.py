"""The demo in a browser: pictures come in every way; errors are shown in words."""

import csv
import json

import pytest
from PIL import Image

from tests.browser.conftest import DARKEST, LIGHT, LOOKS, light_of, overflow, serious

SURENESS = ("very sure", "fairly sure", "not very sure", "guessing")
EVIL = "<img src=x onerror='window.hit = 1'>.jpg"


@pytest.fixture
def page(open_page, demo):
    opened = open_page(demo)
    expect_text(opened, "#model", "words")
    return opened


@pytest.fixture(scope="module")
def pictures(tiny) -> list[str]:
    return [str(path) for path in sorted((tiny.data / "images").iterdir())]


def expect_text(page, selector: str, text: str) -> None:
    """Wait until the element says so."""
    from playwright.sync_api import expect

    expect(page.locator(selector).first).to_contain_text(text, timeout=120_000)


def test_chosen_pictures_get_captions(page, pictures):
    page.set_input_files("#files", pictures[:3])
    expect_text(page, "#status", "Done.")
    assert page.locator(".card").count() == 3
    for card in page.locator(".card").all():
        assert card.locator(".caption").count() == 3
        assert card.locator("small").first.text_content() in SURENESS
        assert card.locator(".caption").first.get_attribute("aria-label").endswith(
            card.locator("img").get_attribute("alt"))  # fmt: skip


def test_attention_is_what_the_server_returned(page, pictures):
    page.evaluate("""() => {
      const real = window.fetch;
      window.answers = [];
      window.fetch = async (...what) => {
        const answer = await real(...what);
        window.answers.push(await answer.clone().json());
        return answer;
      };
    }""")
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    (answer,) = page.evaluate("window.answers")
    words, canvas = (
        page.locator(".card .caption").first.locator(".word"),
        page.locator(".card canvas"),
    )
    words.first.focus()
    page.keyboard.press("End")
    weights = answer["captions"][0]["attention"][-1]
    expected = pytest.approx(light_of(weights, answer["view"]), abs=0.05)
    assert canvas.evaluate(LIGHT, [7, answer["view"]["grid"]]) == expected


def test_a_bad_picture_is_named_and_the_others_are_captioned(page, pictures, tmp_path):
    bad = tmp_path / EVIL
    bad.write_bytes(b"<html>")
    page.set_input_files("#files", [str(bad), pictures[0]])
    expect_text(page, "#status", "1 picture captioned, 1 failed.")
    expect_text(page, ".state.failed", "No caption: a page of HTML or XML, not a picture.")
    assert page.locator(".card .caption").count() == 3
    assert page.get_by_role("button", name="Try again").count() == 1
    assert page.locator(".card").first.get_attribute("aria-label") == EVIL
    assert page.evaluate("window.hit") is None


def test_a_hostile_caption_stays_text(page, pictures):
    words = ["</script><script>window.hit=1</script>", EVIL, "\u202eright", "\u2028", "\U0001f600"]
    words += ["word"] * 10_000
    caption = {
        "caption": " ".join(words), "words": words, "probabilities": [0.5] * len(words),
        "log_prob": -1.0, "attention": None,
    }  # fmt: skip
    view = {"seen": [0, 0, 1, 1], "grid": [0, 0, 1, 1]}
    answer = {"captions": [caption], "view": view, "seconds": 0.1}
    page.route("**/api/caption*", lambda route: route.fulfill(json=answer))
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    shown = page.locator(".card .word").all_text_contents()
    assert shown == words
    assert page.evaluate("window.hit") is None and overflow(page) <= 0


def test_a_big_picture_is_shrunk_before_it_is_sent(page, tmp_path):
    big = tmp_path / "big.bmp"
    Image.new("RGB", (2400, 1800), "red").save(big)
    page.evaluate("""() => {
      const real = window.fetch;
      window.fetch = (url, what) => {
        if (what?.body) window.sent = what.body.size;
        return real(url, what);
      };
    }""")
    page.set_input_files("#files", str(big))
    expect_text(page, "#status", "Done.")
    assert big.stat().st_size > 10 << 20 and 0 < page.evaluate("window.sent") < 1 << 20


def test_an_oversized_file_is_refused_before_it_is_sent(page, tmp_path):
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes((10 << 20) + 1))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_input_files("#files", str(big))
    expect_text(page, ".state.failed", "more than 10 MB")
    assert not [url for url in asked if "api" in url]


def test_twenty_at_once(page, pictures):
    page.set_input_files("#files", (pictures * 2)[:20])
    expect_text(page, "#status", "Done.")
    assert page.locator(".card").count() == 20
    assert page.locator(".card .caption").count() == 60
    assert page.locator(".state.failed").count() == 0


def test_a_busy_server_is_waited_for(page, pictures):
    def busy(route):
        route.fulfill(status=429, headers={"Retry-After": "0"}, json={"error": "busy"})

    page.route("**/api/caption*", busy, times=1)
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    assert page.locator(".card .caption").count() == 3


def test_dropped_and_pasted_pictures(page):
    for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([kind, holder]) => {
              const canvas = element("canvas", { width: 64, height: 48 });
              canvas.getContext("2d").fillRect(5, 5, 20, 20);
              const blob = await new Promise((done) => canvas.toBlob(done));
              const transfer = new DataTransfer();
              transfer.items.add(new File([blob], `${kind}.png`, { type: "image/png" }));
              const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: transfer })
                : new ClipboardEvent(kind, { clipboardData: transfer });
              document.dispatchEvent(event);
            }""",
            [kind, holder],
        )
        expect_text(page, ".card:first-child .foot small", f"{kind}.png")
        expect_text(page, "#status", "Done.")
    assert page.locator(".card .caption").count() == 6


def test_controls_reach_the_server(page, pictures):
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    page.locator("#options summary").click()
    page.select_option("#how", "sample")
    page.fill("#temperature", "1.5")
    page.fill("#n", "5")
    with page.expect_request("**/api/caption*") as caught:
        page.get_by_role("button", name="Caption again").click()
    assert "sample=temperature%3D1.5%2Ctop-p%3D0.9" in caught.value.url
    expect_text(page, "#status", "Done.")
    page.select_option("#how", "beam")
    page.fill("#beam", "99")
    page.evaluate("document.getElementById('controls').noValidate = true")
    page.get_by_role("button", name="Caption again").click()
    expect_text(page, ".state.failed", "beam takes a whole number from 1 to 10")


def test_a_failing_server_is_reported(page, pictures):
    page.route("**/api/caption*", lambda route: route.fulfill(status=500, body="<html>no json"))
    page.set_input_files("#files", pictures[0])
    expect_text(page, ".state.failed", "the server answered 500")
    page.get_by_role("button", name="Remove").click()
    assert page.locator(".card").count() == 0
    assert page.locator("#choose").evaluate("button => button === document.activeElement")


def test_live_captions_from_the_camera(page):
    page.click("#live")
    expect_text(page, "#rate", "captions a second")
    assert page.locator("#now").inner_text()
    assert page.locator("#live").get_attribute("aria-pressed") == "true"
    page.locator("#now .word.now").wait_for()
    assert page.locator("#attended").evaluate(DARKEST) > 0
    page.get_by_role("button", name="Stop the camera").click()
    assert not page.locator("#camera").is_visible()
    assert page.locator("#video").evaluate("v => v.srcObject.getTracks()[0].readyState") == "ended"


@pytest.mark.parametrize("look", LOOKS)
def test_it_fits_and_is_accessible(open_page, demo, pictures, tmp_path, look):
    page = open_page(demo, *look)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    page.set_input_files("#files", [str(tmp_path / "bad.jpg"), pictures[0]])
    expect_text(page, "#status", "1 picture captioned, 1 failed.")
    page.locator("#options summary").click()
    assert overflow(page) <= 0
    assert serious(page) == []


def test_an_example_is_captioned(page):
    page.locator("#examples button").first.click()
    expect_text(page, "#status", "Done.")
    assert page.locator(".card.large .caption").count() == 3


def test_a_caption_is_copied_and_can_be_selected(open_page, demo, pictures):
    page = open_page(demo)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    second = page.locator(".card .said").nth(1)
    second.get_by_role("button", name="Copy caption 2").click()
    expect_text(page, ".card .said:nth-child(2) > button", "Copied")
    text = second.locator(".caption").inner_text().strip()
    assert page.evaluate("navigator.clipboard.readText()") == text
    second.locator(".caption").click(click_count=3)
    assert page.evaluate("String(getSelection())").strip() == text


def test_captions_survive_a_reload_until_they_are_cleared(page, pictures):
    page.set_input_files("#files", pictures[:2])
    expect_text(page, "#status", "Done.")
    said = page.locator(".card .caption").all_inner_texts()
    page.wait_for_timeout(300)  # the thumbnails
    page.reload()
    expect_text(page, ".state", "from an earlier visit")
    assert sorted(page.locator(".card .caption").all_inner_texts()) == sorted(said)
    page.get_by_role("button", name="Clear").click()
    page.reload()
    expect_text(page, "#model", "words")
    assert page.locator(".card").count() == 0


def test_results_are_saved(page, pictures):
    page.set_input_files("#files", pictures[0])
    expect_text(page, "#status", "Done.")
    with page.expect_download() as csv_file:
        page.get_by_role("button", name="Save as CSV").click()
    with page.expect_download() as json_file:
        page.get_by_role("button", name="Save as JSON").click()
    with open(csv_file.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    with open(json_file.value.path()) as file:
        assert [row["caption"] for row in json.load(file)] == [row["caption"] for row in rows]
    assert (
        len(rows) == 3 and rows[0]["caption"] in page.locator(".card .caption").first.inner_text()
    )
