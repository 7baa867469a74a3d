"""The default data set: the same bytes for a seed, COCO's format, and objects where annotated."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from prepro import scenes


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


def test_sizes_and_splits_out_of_range(tmp_path):
    for odd in ({"size": 8}, {"val": 0}, {"train": 10**11}):
        with pytest.raises(ValueError, match="--size must lie in"):
            scenes.main(scenes.Options(out=tmp_path, **odd))
    assert list(tmp_path.iterdir()) == []
