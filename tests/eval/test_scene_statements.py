"""What captions say of a scene that is known: two red circles, left of one blue cross."""

import json

import pytest

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


def test_the_share_is_of_all_statements():
    captions = {1: "two red circles", 2: "a red circle", 3: "no idea"}
    assert share_true(captions, dict.fromkeys(captions, SCENE)) == 3 / 5


def test_annotations_without_objects_are_refused(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"images": [{"id": 1}]}))
    with pytest.raises(ValueError, match="without objects"):
        read_scenes(path)
