"""What captions say of a scene that is known: two red circles, left of one blue cross."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import command
from eval import statements as module
from eval.scene_statements import read_scenes, share_true, statements

SCENE = [
    {"shape": "circle", "color": "red", "box": [5, 10, 20, 20]},
    {"shape": "circle", "color": "red", "box": [5, 60, 20, 20]},
    {"shape": "cross", "color": "blue", "box": [70, 40, 20, 20]},
]
T, F = True, False


@pytest.mark.parametrize(
    ("caption", "verdicts"),  # there is such a thing, so many of it; twice; and the relation
    [
        ("two red circles", [T, T]),
        ("There are two red circles.", [T, T]),
        ("a red circle", [T, F]),
        ("three blue crosses", [T, F]),
        ("a blue circle", [F, F]),
        ("two red circles to the left of a blue cross", [T, T, T, T, T]),
        ("a blue cross right of two red circles", [T, T, T, T, T]),
        ("two red circles right of a blue cross", [T, T, T, T, F]),
        ("two red circles above a blue cross", [T, T, T, T, F]),
        ("two red circles and a blue cross", [T, T, T, T]),
        ("two red circles and one green star", [T, T, F, F]),
        ("two red circles under a green star", [T, T, F, F, F]),
        ("circles", [F]),
        ("a red circle or something", [F]),
        ("", [F]),
    ],
)
def test_statements_of_a_caption(caption, verdicts):
    assert statements(caption, SCENE) == verdicts


BOX = st.lists(st.integers(0, 6), min_size=4, max_size=4)
SIDES = {  # of the corners' means
    "left of": lambda x, y, u, v: x < u,
    "to the left of": lambda x, y, u, v: x < u,
    "right of": lambda x, y, u, v: x > u,
    "to the right of": lambda x, y, u, v: x > u,
    "above": lambda x, y, u, v: y < v,
    "over": lambda x, y, u, v: y < v,
    "below": lambda x, y, u, v: y > v,
    "under": lambda x, y, u, v: y > v,
}


def centre(left, top, width, height) -> tuple[float, float]:
    return (left + left + width) / 2, (top + top + height) / 2


@given(BOX, BOX)
def test_relations_are_of_the_centres_of_boxes(one, other):
    """A centre exactly below another is neither left nor right of it."""
    scene = [
        {"shape": "star", "color": "red", "box": one},
        {"shape": "cross", "color": "blue", "box": other},
    ]
    for words, holds in SIDES.items():
        expected = holds(*centre(*one), *centre(*other))
        assert statements(f"a red star {words} a blue cross", scene) == [T, T, T, T, expected]


def test_every_object_lies_on_that_side_of_every_other():
    scene = [*SCENE, {"shape": "cross", "color": "blue", "box": [0, 0, 2, 2]}]
    assert statements("two red circles left of two blue crosses", scene)[-1] is F
    assert statements("two blue crosses right of two red circles", scene)[-1] is F


@pytest.mark.parametrize("start", ["", "there are ", "A picture of ", "this shows ", "I see "])
def test_words_of_number_are_counts(start):
    words = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
    for there in range(1, 5):
        scene = [{"shape": "star", "color": "red", "box": [0, 0, 1, 1]}] * there
        for word, number in words.items():
            assert statements(f"{start}{word} red stars.", scene) == [T, number == there]
            assert statements(f"a blue cross and {word} red stars", scene)[2:] == [
                T, number == there,
            ]  # fmt: skip


def test_a_colour_alone_or_a_shape_alone_is_another_thing():
    assert statements("a red cross", SCENE) == [F, F]
    assert statements("two blue circles", SCENE) == [F, F]


def test_the_command_prints_the_share_and_refuses_strange_images(tmp_path, capsys):
    scenes, results = tmp_path / "scenes.json", tmp_path / "results.json"
    scenes.write_text(json.dumps({"images": [{"id": i, "objects": SCENE} for i in (1, 2)]}))
    argv = ["--scenes", str(scenes), "--results", str(results)]
    captions = [{"image_id": 1, "caption": "two red circles"}]
    captions += [{"image_id": 2, "caption": "nothing"}]
    results.write_text(json.dumps(captions))
    assert command.run(module.Options, module.main, argv) == 0
    assert capsys.readouterr().out == "true statements  0.6667  of 2 captions\n"
    results.write_text(json.dumps([*captions, {"image_id": 9, "caption": "a red circle"}]))
    assert command.run(module.Options, module.main, argv) == 2
    assert "image 9 is not in" in capsys.readouterr().err


def test_the_share_is_of_all_statements():
    captions = {1: "two red circles", 2: "a red circle", 3: "no idea"}
    assert share_true(captions, dict.fromkeys(captions, SCENE)) == 3 / 5


@pytest.mark.parametrize(
    "content", [{"images": [{"id": 1}]}, {"images": [{"id": 1, "objects": []}, {"id": 2}]}, [], {}]
)
def test_annotations_without_objects_are_refused(tmp_path, content):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="without objects"):
        read_scenes(path)
