"""The default data set: the same bytes for a seed, COCO's format, and objects where annotated."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from prepro import scenes
from tests.test_compatibility import WRITTEN


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    scenes.main(scenes.Options(out=folder, train=30, val=3, test=2))
    return folder


def test_a_scene_depends_on_its_seed_and_number_alone(drawn, tmp_path):
    for seed in (0, 1):
        path = tmp_path / f"{seed}.jpg"
        scene = scenes.draw_scene(path, 112, seed, 33)
        same = path.read_bytes() == (drawn / "images/000033.jpg").read_bytes()
        assert same == (seed == 0)
        if seed == 0:
            assert scene["objects"] == COCO(drawn / "annotations.json").imgs[33]["objects"]


def test_a_seed_gives_the_scenes_that_earlier_versions_drew(tmp_path, capsys):
    """So stored features and scores stay valid; another libjpeg may round otherwise."""
    out = tmp_path / "a" / "scenes"
    for _ in range(2):
        scenes.main(scenes.Options(out=out, train=12, val=4, test=4, size=64))
    assert capsys.readouterr().out.splitlines() == [f"{out}: 20 pictures, 100 captions"] * 2
    earlier = WRITTEN / "data"
    annotations = [(folder / "annotations.json").read_bytes() for folder in (out, earlier)]
    assert annotations[0] == annotations[1]
    for path in (earlier / "images").iterdir():
        ours, theirs = (np.asarray(Image.open(p), int) for p in (out / "images" / path.name, path))
        errors = (ours - theirs).reshape(8, 8, 8, 8, 3).mean((1, 3))
        assert abs(errors).max() < 0.5, path.name  # rounding errors of a block cancel out
    assert len(list((out / "images").iterdir())) == 20


def test_two_runs_write_the_same_annotations(drawn, tmp_path):
    scenes.main(scenes.Options(out=tmp_path, train=30, val=3, test=2))
    name = "annotations.json"
    assert (tmp_path / name).read_bytes() == (drawn / name).read_bytes()


def test_it_is_cocos_format_with_splits_and_five_captions_each(drawn):
    coco = COCO(drawn / "annotations.json")
    splits = [image["split"] for image in coco.imgs.values()]
    assert splits == ["train"] * 30 + ["val"] * 3 + ["test"] * 2
    for image in coco.getImgIds():
        assert len({a["caption"] for a in coco.imgToAnns[image]}) == 5
    assert len({a["caption"] for a in coco.anns.values()}) > 100


def test_objects_have_the_annotated_position_and_colour(drawn):
    """The middle of each box is nearest to its own colour, textures and JPEG included."""
    names = list(scenes.COLORS)
    table = np.array([scenes.COLORS[name] for name in names], float)
    wrong = total = 0
    for image in json.loads((drawn / "annotations.json").read_text())["images"]:
        pixels = np.asarray(Image.open(drawn / image["file_name"]), float)
        for item in image["objects"]:
            x, y, w, h = item["box"]
            middle = pixels[y + h // 2 - 3 : y + h // 2 + 4, x + w // 2 - 3 : x + w // 2 + 4]
            colour = np.median(middle.reshape(-1, 3), axis=0)
            wrong += names[np.abs(table - colour).sum(1).argmin()] != item["color"]
            total += 1
    assert total > 60 and wrong == 0


@pytest.mark.parametrize(
    "odd",
    [{"size": 31}, {"size": 2049}, {"val": 0}, {"train": 10**6 + 1}, {"size": 8, "train": 10**11}],
)
def test_sizes_and_splits_out_of_range(tmp_path, odd):
    allowed = r"--size must lie in 32\.\.2048, and .* must have 1 to 1,000,000 pictures"
    with pytest.raises(ValueError, match=allowed):
        scenes.main(scenes.Options(out=tmp_path, **odd))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [32, 2048])
def test_the_limits_that_the_message_names_are_allowed(tmp_path, monkeypatch, size):
    monkeypatch.setattr(scenes, "MOST", 2)  # drawing a million takes an hour
    monkeypatch.setattr(scenes, "draw_scene", lambda *_: {"captions": ["a"], "size": size})
    scenes.main(scenes.Options(out=tmp_path, train=2, val=1, test=1, size=size))
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert len(content["images"]) == 4 and content["images"][0]["size"] == size
    assert content["info"]["size"] == size


def test_the_demo_draws_the_pictures_that_the_readme_names(tmp_path, monkeypatch):
    """4,000 for training, as the Makefile asks, up to 004399.jpg, of which 200 are for the test."""
    monkeypatch.setattr(scenes, "draw_scene", lambda *_: {"captions": ["a"]})
    scenes.main(scenes.Options(out=tmp_path, train=4000))
    images = json.loads((tmp_path / "annotations.json").read_text())["images"]
    assert images[-1]["file_name"] == "images/004399.jpg"
    assert [image["split"] for image in images].count("test") == 200


def test_every_shape_has_its_own_outline():
    """Areas within a circle of radius r, in shares of r squared, and corners, by geometry."""
    for shape, corners, area in (("square", 4, 2), ("triangle", 3, 3 * 3**0.5 / 4)):
        points = np.array(scenes._outline(shape, 50, 60, 10, 0.15))
        x, y = points.T
        assert len(points) == corners
        assert np.hypot(x - 50, y - 60) == pytest.approx([10] * corners)
        assert abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 == pytest.approx(100 * area)
