"""Names and numbers of the files that COCO's test server takes."""

from pathlib import Path

import pytest

from caption.inference.coco_submission import name, number

OUT = Path("somewhere/out.json")
OURS = Path("somewhere/captions_test2014_our-net.2_results.json")


def test_the_set_is_in_the_name_or_in_the_folder():
    inside = Path("pictures/COCO_test2014_000000000001.jpg")
    around = Path("test2014/000000000002.jpg")
    assert name(OUT, [inside], "our-net.2") == name(OUT, [around], "our-net.2") == OURS
    assert name(OUT, [inside, around], "our-net.2") == OURS
    both = Path("val2014/COCO_test2014_000000000001.jpg")  # moved there: the file's name counts
    assert name(OUT, [both], "our-net.2") == OURS
    assert name(OUT, [Path("train2017/1.jpg")], "a").name == "captions_train2017_a_results.json"


def test_a_picture_of_no_set_is_named():
    paths = [Path("test2014/1.jpg"), Path("holiday/2.jpg"), Path("val2014/3.jpg")]
    with pytest.raises(ValueError, match="holiday/2.jpg is of no set"):
        name(OUT, paths, "ours")


def test_pictures_of_two_sets_are_refused():
    with pytest.raises(ValueError, match="one set, these are of test2014, val2014"):
        name(OUT, [Path("val2014/1.jpg"), Path("test2014/1.jpg")], "ours")


@pytest.mark.parametrize("algorithm", ["a b", "a/b", "../a", "ours!", "a_b"])
def test_an_algorithm_is_called_by_letters_digits_dots_and_dashes(algorithm):
    with pytest.raises(ValueError, match="expected letters, digits, dots and dashes"):
        name(OUT, [Path("test2014/1.jpg")], algorithm)


def test_the_number_ends_the_name():
    assert number(Path("COCO_val2014_000000000042.jpg")) == 42
    assert number(Path("12/000000000139.png")) == 139
    with pytest.raises(ValueError, match=r"7dogs\.jpg has no number at the end of its name"):
        number(Path("2014/7dogs.jpg"))
