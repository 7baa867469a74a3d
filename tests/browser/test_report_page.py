"""The report in a browser: order, search, filters, attention, keys, hostile text, many pictures."""

import csv

import numpy as np
import pytest

from caption.report import Options, _packed, gather
from caption.reporting.attention_overlay import EVEN_GRID
from caption.reporting.box_attention import box_heatmap, box_view
from caption.reporting.html import render
from tests.browser.conftest import DARKEST, LIGHT, LOOKS, light_of, overflow, serious
from tests.caption.reporting.test_report import unpack

EVIL = '<script>window.hit = 1</script><img src=x onerror="window.hit = 1">'


@pytest.fixture(scope="module")
def content(tiny, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("report") / "report.html"
    runs = tiny.runs
    return gather(Options(runs["topdown"], (runs["show_tell"],), out, bootstrap=20))


@pytest.fixture
def show(open_page, tmp_path):
    def show_one(content: dict, *look: str):
        (tmp_path / "report.html").write_text(render(content))
        return open_page((tmp_path / "report.html").as_uri(), *look)

    return show_one


def scores_of(page) -> list[float]:
    """Of the first run's caption on each card."""
    texts = page.locator(".card .details > small:nth-of-type(1)").all_text_contents()
    return [float(text.split("CIDEr-D ")[1].split()[0]) for text in texts]


def test_everything_is_there(content, show):
    page = show(content)
    assert page.title() == "topdown against show_tell · captions"
    assert page.locator("#scores tbody tr").count() == 7
    assert page.locator("#health tbody tr").count() == 8
    assert "loss" in page.locator("#curves").get_attribute("alt")
    assert page.locator("#curves").evaluate("img => img.complete && img.naturalWidth > 100")
    heads = page.locator("#origin thead th").all_inner_texts()
    assert heads == ["", "topdown", "show_tell"]
    assert page.locator("#headline tbody tr").count() == 4  # two runs, people, a constant caption
    assert page.locator(".card").count() == 6
    for card in page.locator(".card img").all():
        card.scroll_into_view_if_needed()
        assert card.get_attribute("alt")
        assert card.evaluate("img => img.decode().then(() => img.naturalWidth)") == 112


def test_hallucinated_words_are_underlined_and_named(content, show):
    """Also in a caption without probabilities, whose words are otherwise plain text."""
    wrong = {"text": "a zebra runs", "words": ["a", "zebra", "runs"], "hallucinated": [1]}
    wrong |= {"probabilities": [], "attention": None, "faults": ["hallucination"]}
    first = content["rows"][0]
    rows = [first | {"captions": [c | wrong for c in first["captions"]]}, *content["rows"][1:]]
    found = [{"CHAIRs": 0.25, "CHAIRi": 0.5}] * 2
    page = show(content | {"rows": rows, "chair": found})
    page.select_option("#kind", "object that is not there")
    assert page.locator(".card").count() == 1
    word = page.locator(".hallucinated").first
    assert word.inner_text() == "zebra"
    assert word.get_attribute("title") == "zebra, not in the picture"
    assert "wavy" in word.evaluate("word => getComputedStyle(word).textDecoration")
    row = page.locator("#health tbody tr").nth(8).all_inner_texts()[0]
    assert "CHAIRs" in row and "25.0 %" in row
    assert "references" in page.locator("#health .note").inner_text()


def test_order(content, show):
    page = show(content)
    for order, sign in (("worst first", 1), ("best first", -1)):
        page.select_option("#order", order)
        found = scores_of(page)
        assert len(found) == 6 and found == sorted(found, key=lambda x: sign * x)
    gains = [row["captions"][0]["cider"] - row["captions"][1]["cider"] for row in content["rows"]]
    best = content["rows"][max(range(6), key=lambda i: gains[i])]
    page.select_option("#order", "show_tell worse than topdown")
    assert page.locator(".card").first.get_attribute("aria-label") == best["file"]


def test_search_and_filters(content, show):
    page = show(content)
    file = content["rows"][3]["file"]
    page.keyboard.press("Tab")
    page.fill("#search", file.upper())
    assert page.locator("#count").inner_text() == "1 of 6 pictures"
    assert page.locator(".card").get_attribute("aria-label") == file
    page.fill("#search", "no such word")
    assert page.locator(".card").count() == 0
    page.fill("#search", "")
    page.locator("#histogram-box summary").click()
    lengths = [len(row["captions"][0]["words"]) for row in content["rows"]]
    page.fill("#least", str(max(lengths)))
    assert page.locator(".card").count() == lengths.count(max(lengths))
    page.fill("#least", "")
    page.select_option("#kind", "repetition")
    faulty = [r for r in content["rows"] if any("repetition" in c["faults"] for c in r["captions"])]
    assert page.locator(".card").count() == len(faulty)


def test_attention_by_keyboard_is_what_the_decoder_returned(content, show):
    page = show(content)
    page.select_option("#order", "as in the data")
    row = content["rows"][0]
    caption = row["captions"][0]
    weights = unpack(caption["attention"], len(caption["words"]))
    words, canvas = page.locator(".card").first.locator(".word"), page.locator("canvas").first
    words.first.focus()
    for word in range(3):
        assert words.nth(word).evaluate("word => word === document.activeElement")
        light = canvas.evaluate(LIGHT, [7, row["views"][0]["grid"]])
        assert light == pytest.approx(light_of(weights[word], row["views"][0]), abs=0.05)
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert canvas.evaluate(DARKEST) == 0
    words.nth(1).hover()
    assert min(canvas.evaluate(LIGHT, [7, row["views"][0]["grid"]])) < 0.9


def test_attention_over_boxes(content, show):
    """A pixel has the sum of the weights of its boxes, the greatest of them a red outline."""
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75], [0.5, 0.5, 0.9, 0.9]])
    first = content["rows"][0]
    caption = first["captions"][0]
    weights = np.tile(np.float32([0.2, 0.3, 0.5]), (len(caption["words"]), 1))
    caption = caption | {"attention": _packed(weights, boxes)}
    row = first | {"captions": [caption, first["captions"][1]], "views": [EVEN_GRID._asdict()] * 2}
    page = show(content | {"rows": [row, *content["rows"][1:]]})
    page.select_option("#order", "as in the data")
    page.locator(".card").first.locator(".word").first.focus()
    canvas = page.locator("canvas").first
    heatmap = box_heatmap(weights[0], box_view(boxes), 64, 64)
    found = np.reshape(canvas.evaluate(LIGHT, [8, [0, 0, 1, 1]]), (8, 8))
    assert np.abs(found - heatmap[4::8, 4::8]).max() < 0.05
    red = """canvas => canvas.getContext("2d").getImageData(0.7 * canvas.width,
      0.5 * canvas.height - 1, 1, 2).data[0]"""
    assert canvas.evaluate(red) > 200


def test_a_word_is_labelled_with_its_probability(content, show):
    page = show(content)
    page.select_option("#order", "as in the data")
    caption = content["rows"][0]["captions"][0]
    page.locator(".card .word").nth(1).hover()
    percent = round(100 * caption["probabilities"][1])
    label = page.locator(".card .label").first
    assert label.inner_text() == f"{caption['words'][1]}, {percent} %"
    page.mouse.move(0, 0)
    assert not label.is_visible()


def test_the_page_opens_with_the_parts_that_come_first(content, show):
    """The order of the parts in the file is that of the cards."""
    page = show(content)
    cards = page.locator(".card").evaluate_all("all => all.map((one) => one.ariaLabel)")
    parts = page.locator("script[id^=part-]").evaluate_all("all => all.map((one) => one.id)")
    rows = [int(name.removeprefix("part-")) for name in parts]
    assert cards == [content["rows"][row]["file"] for row in rows]


def test_hostile_text_stays_text(content, show):
    caption = content["rows"][0]["captions"][0]
    evil = caption | {"text": EVIL, "words": EVIL.split(), "attention": None, "probabilities": []}
    row = content["rows"][0] | {"file": EVIL, "references": [EVIL], "captions": [evil, evil]}
    runs = [run | {"name": EVIL, "captions": EVIL} for run in content["runs"]]
    bad = row | {"src": "", "trouble": EVIL}
    page = show(content | {"rows": [row, bad], "runs": runs, "data": EVIL, "warnings": [EVIL]})
    assert page.locator(".card .caption").first.inner_text() == EVIL
    assert EVIL in page.locator(".lacking").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator(".card script, .card [onerror]").count() == 0


def test_five_thousand_pictures_are_drawn_a_screenful_at_a_time(content, show):
    rows = [row | {"file": f"{i}.jpg"} for i in range(834) for row in content["rows"]]
    page = show(content | {"rows": rows})
    assert page.locator("#count").inner_text() == "5,004 of 5,004 pictures"
    assert page.locator(".card").count() <= 3 * 48
    before = page.locator(".card").count()
    page.locator(".card").last.scroll_into_view_if_needed()
    page.locator(".card").nth(before).wait_for()
    late = page.locator(".card img").nth(before)  # its bytes come after the script
    late.scroll_into_view_if_needed()
    assert late.evaluate("img => img.decode().then(() => img.naturalWidth)") == 112
    page.fill("#search", "833.jpg")
    assert page.locator(".card").count() == 6


@pytest.mark.parametrize("look", LOOKS)
def test_it_fits_and_is_accessible(content, show, look):
    page = show(content, *look)
    page.locator("#histogram-box summary").click()
    assert overflow(page) <= 0
    assert serious(page) == []


def test_a_word_that_no_person_says_is_found_in_one_runs_captions(content, show):
    page = show(content)
    word = content["rows"][0]["captions"][0]["words"][0]
    page.fill("#search", f'"{word}"')
    page.select_option("#field", "wrongly said by topdown")
    expected = [
        row["file"]
        for row in content["rows"]
        if word in row["captions"][0]["words"]
        and not any(word in text.lower().rstrip(".").split() for text in row["references"])
    ]
    cards = page.locator(".card").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert sorted(cards) == sorted(expected)


def test_the_address_bar_keeps_the_view(content, show, open_page, tmp_path):
    page = show(content)
    page.select_option("#order", "shortest first")
    page.fill("#search", content["rows"][3]["file"])
    address = page.evaluate("location.href")  # page.url lags behind
    other = open_page(address)
    assert other.locator("#order").input_value() == "shortest first"
    assert other.locator(".card").get_attribute("aria-label") == content["rows"][3]["file"]
    other.get_by_role("button", name="Reset filters").click()
    assert other.locator(".card").count() == 6


def test_the_histogram_chooses_a_range(content, show):
    page = show(content)
    page.locator("#histogram-box summary").click()
    bars = page.locator("#histogram button")
    counts = [int(bar.get_attribute("title").split(": ")[1]) for bar in bars.all()]
    assert sum(counts) == 6
    bars.first.click()
    assert page.locator(".card").count() == counts[0]
    bars.first.click()
    assert page.locator(".card").count() == 6


def test_a_picture_is_enlarged_with_its_attention(content, show):
    page = show(content)
    page.locator(".card .enlarge").first.click()
    words = page.locator("dialog .word")
    words.nth(1).hover()
    assert page.locator("dialog canvas").evaluate(DARKEST) > 0
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_the_chosen_rows_are_saved(content, show):
    page = show(content)
    page.fill("#search", content["rows"][2]["file"])
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    with open(saved.value.path(), newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["file"] == content["rows"][2]["file"]
    assert row["caption of topdown"] == content["rows"][2]["captions"][0]["text"]


def test_an_empty_gallery_says_what_to_do(content, show):
    page = show(content)
    page.fill("#search", "no such word")
    assert "Reset filters" in page.locator("#none").inner_text()
