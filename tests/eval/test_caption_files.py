"""eval.caption_files: ids, formats, and what a message names."""

import json

import pytest

from eval import caption_files
from eval.caption_files import (
    disagreement,
    image_id,
    read_references,
    read_results,
    some,
    split_names,
)


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def file(content: object, name: str = "x.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return file


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (42, 42),
        (42.0, 42),
        ("42", 42),
        ("042", "042"),
        ("4.0", "4.0"),
        ("-1", "-1"),
        ("٤٢", "٤٢"),
        ("dog.jpg", "dog.jpg"),
        ("12345678901234567890", 12345678901234567890),
        ("123456789012345678901", "123456789012345678901"),
        ("9" * 6000, "9" * 6000),  # int() refuses so many digits
    ],
)
def test_numbers_are_known_however_they_are_spelled(value, known):
    found = image_id(value)
    assert found == known and type(found) is type(known)


@pytest.mark.parametrize("value", [True, 1.5, None, [1], float("inf"), float("nan")])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(ValueError, match="here: .* is not an image id"):
        image_id(value, "here")


def test_images_come_in_the_order_of_the_file(write):
    content = {
        "images": [{"id": 3}, {"id": 1}, {"id": 2}],
        "annotations": [{"image_id": i, "caption": f"{i}{n}"} for n, i in enumerate((1, 9, 3, 1))],
    }
    expected = {3: ["32"], 1: ["10", "13"], 9: ["91"]}
    found = read_references(write(content))
    assert found == expected and list(found) == list(expected)
    del content["images"]
    assert read_references(write(content)) == expected
    with pytest.raises(ValueError, match="no splits; leave out --split"):
        read_references(write(content), "test")


def test_karpathy_ids_are_those_of_coco_where_there_are_any(write):
    images = [
        {"cocoid": 7, "id": 1, "imgid": 0, "filename": "a", "sentences": [{"raw": "x"}]},
        {"id": 2, "imgid": 1, "filename": "b", "sentences": [{"raw": "y"}]},
        {"imgid": 5, "filename": "c", "sentences": [{"raw": "z"}]},
        {"filename": "d", "captions": ["v", "w"]},
    ]
    found = read_references(write({"images": images}))
    assert found == {7: ["x"], 2: ["y"], 5: ["z"], "d": ["v", "w"]}


def test_a_split_that_is_not_there_is_answered_with_those_that_are(write):
    images = [{"id": i, "split": split, "captions": ["a"]} for i, split in enumerate("bab")]
    path = write({"images": images})
    assert list(read_references(path, "b")) == [0, 2] and split_names(path) == ["a", "b"]
    with pytest.raises(ValueError, match="no image of split 'c'; it has a, b$"):
        read_references(path, "c")
    with pytest.raises(ValueError, match="it has no images"):
        read_references(write({"images": []}))
    assert split_names(write({"images": [1, {"split": 5}, {"split": "z"}]})) == ["z"]
    assert split_names(write([1])) == split_names(write("{", "x.txt")) == []


def test_token_files_may_end_lines_as_windows_does(write):
    path = write("\ufeffa.jpg#0\tone dog\r\n\r\na#b.jpg#1\ta\tcat\r\n", "x.token")
    assert read_references(path) == {"a.jpg": ["one dog"], "a#b.jpg": ["a\tcat"]}
    for line in ("a.jpg\tno number", "a.jpg#0 no tab"):
        with pytest.raises(ValueError, match="line 2: not <file>#<number>TAB<caption>"):
            read_references(write(f"a.jpg#0\tone\n{line}", "x.txt"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_references(path.with_name("gone.txt"))


def test_the_first_of_several_captions_counts(write):
    entries = [(1, "a"), (2, "b"), ("1", "c"), (3, "d"), (1.0, "e"), (3, "f")]
    found = read_results(write([{"image_id": i, "caption": c} for i, c in entries]))
    assert found.captions == {1: "a", 2: "b", 3: "d"} and found.duplicates == (1, 3)


def test_a_caption_of_the_longest_length_is_read(write, monkeypatch):
    monkeypatch.setattr(caption_files, "CAPTION_LIMIT", 1234)
    assert read_results(write([{"image_id": 1, "caption": "a" * 1234}])).captions[1] == "a" * 1234
    with pytest.raises(ValueError, match=r"1,235 characters \(image 1\); more than 1,234"):
        read_results(write([{"image_id": 1, "caption": "a" * 1235}]))


def test_messages_name_the_first_five_ids():
    assert some([1]) == "1" and some(list("abcde")) == "a, b, c, d, e"
    assert some(range(6)) == "0, 1, 2, 3, 4 and 1 more"
    assert some(range(5, 2010)) == "5, 6, 7, 8, 9 and 2,000 more"
    assert some(["a\nb"]) == r"a\nb"


def test_sets_of_images_disagree_a_line_for_each_reason():
    assert disagreement([1, 2], [2, 1], []) == []
    assert disagreement([1, 2, 3], [3, 4], [7, 7]) == [
        "2 images without a caption: 1, 2",
        "1 image without references: 4",
        "2 images with several captions: 7, 7",
    ]
