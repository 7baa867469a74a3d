"""eval.metrics.chair: cases computed by hand, and brute force over synthetic images."""

import dataclasses
import json
import random

import pytest

from eval.metrics.chair import (
    Truth,
    chair,
    hallucinated,
    hallucinated_objects,
    mentions,
    object_of,
    read_truth,
    singular,
)
from eval.metrics.ngram_counts import Pairs, pair
from eval.score import Options
from eval.score import main as score_command
from eval.significance import compare
from prepro.scenes import Options as ScenesOptions
from prepro.scenes import main as scenes


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("two women ride their bikes", ["person", "bicycle"]),
        ("a baby elephant near a passenger train", ["elephant", "train"]),
        ("a toilet seat and a seat", ["toilet"]),
        ("a man in a bow tie", ["person", "tie"]),
        ("hot dogs and a dog", ["hot dog", "dog"]),
        ("a street light over buses", ["traffic light", "bus"]),
        ("skis , scissors , glasses , wine glasses", ["skis", "scissors", "wine glass"]),
        ("puppies and knives on benches", ["dog", "knife", "bench"]),
        ("a red sky", []),
        ("a seat", ["chair"]),
        ("a toilet and a chair", ["toilet", "chair"]),
        ("baby animals and adult bears", ["bear"]),
        ("horses giraffes wine glasses", ["horse", "giraffe", "wine glass"]),
        ("a passenger jet", ["airplane"]),
        ("home plate", []),
        ("a bird", ["bird"]),
    ],
)
def test_captions_name_the_objects_of_coco(caption, objects):
    assert [mention.object for mention in mentions(caption.split())] == objects


@pytest.mark.parametrize(
    ("word", "one"),
    [
        *(("dogs", "dog"), ("benches", "bench"), ("puppies", "puppy"), ("buses", "bus")),
        *(("classes", "class"), ("axes", "ax"), ("watches", "watch"), ("dishes", "dish")),
        *(("cubs", "cub"), ("s", "s"), ("ss", "ss"), ("skis", "skis"), ("moss", "moss")),
        *(("geese", "goose"), ("trees", "tree"), ("dog", "dog"), ("roses", "rose")),
    ],
)  # fmt: skip
def test_plurals_have_their_singular(word, one):
    assert singular(word, object_of()) == one


def test_objects_of_several_results_are_listed_once_each():
    references = {1: ["a dog"], 2: ["a cat"], 3: ["a sky"]}
    first = pair(references, {1: "a dog and a cat", 2: "a cat", 3: "a bus"})
    second = pair(references, {1: "a cat and a man", 2: "a cat", 3: "a dog"})
    assert hallucinated_objects([first, second], None) == {1: ["cat", "person"], 3: ["bus", "dog"]}
    found = chair(first)
    assert found["CHAIRi"].per_image.tolist() == [1 / 2, 0, 1]
    assert found["CHAIRs"].per_image.tolist() == [1, 0, 1]


def test_coco_has_eighty_objects():
    assert len(set(object_of().values())) == 80


def test_chair_by_hand():
    references = {1: ["a dog on grass"], 2: ["a man with a horse"], 3: ["a red sky"]}
    captions = {1: "a dog with a frisbee and a cat", 2: "a lady on a pony", 3: "the sky"}
    truth = Truth("instances", {1: {"frisbee"}, 2: {"person"}, 3: set()}, object_of())
    found = chair(pair(references, captions), truth)
    assert found["CHAIRs"].corpus == pytest.approx(1 / 3)
    assert found["CHAIRi"].corpus == pytest.approx(1 / 5)
    assert found["CHAIRi"].per_image.tolist() == pytest.approx([1 / 3, 0, 0])
    words = chair(pair(references, captions))
    assert words["CHAIRi"].corpus == pytest.approx(2 / 5)


def test_chair_is_its_definition_on_a_thousand_images():
    rng = random.Random(0)
    names = sorted(name for name in object_of() if " " not in name and name != "seat")
    fillers = ["near", "the", "red"]
    refs, cands, there, bad_captions, bad, named = [], [], {}, 0, 0, 0
    for image in range(1000):
        several = [[rng.choice(names), "near", rng.choice(names)] for _ in range(2)]
        there[image] = {object_of()[rng.choice(names)] for _ in range(rng.randrange(5))}
        picked = [rng.choice(names) for _ in range(rng.randrange(4))]
        caption = [word for name in picked for word in (rng.choice(fillers), "of", name)]
        refs.append(several)
        cands.append(caption)
        truth = there[image] | {object_of()[ref[i]] for ref in several for i in (0, 2)}
        wrong = [name for name in picked if object_of()[name] not in truth]
        bad_captions, bad, named = bad_captions + bool(wrong), bad + len(wrong), named + len(picked)
        assert [caption[m.start] for m in hallucinated(caption, truth)] == wrong
    found = chair(Pairs(range(1000), refs, cands), Truth("instances", there, object_of()))
    assert found["CHAIRs"].corpus == pytest.approx(bad_captions / 1000)
    assert found["CHAIRi"].corpus == pytest.approx(bad / named)
    row = compare(found, found, 50)["CHAIRi"]
    assert row.difference == 0 and row.p == 1


def test_instances_are_read_from_coco_and_nothing_else(tmp_path):
    path = tmp_path / "instances.json"
    content = {
        "images": [{"id": 7}, {"id": 8}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 1}],
    }
    path.write_text(json.dumps(content))
    assert read_truth(path).objects == {7: {"dog"}, 8: set()}
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="not COCO's instances"):
        read_truth(tmp_path / "other.json")


def test_the_objects_of_scenes_are_their_shapes(tmp_path):
    """Captions that the painter writes name nothing that is not there; those of others do."""
    scenes(ScenesOptions(out=tmp_path, train=1, val=1, test=40))
    annotations = json.loads((tmp_path / "annotations.json").read_text())
    truth = read_truth(tmp_path / "annotations.json")
    shapes = {
        image["id"]: {o["shape"] for o in image["objects"]} for image in annotations["images"]
    }
    assert truth.objects == shapes
    texts = {entry["image_id"]: entry["caption"] for entry in annotations["annotations"]}
    silent = {image: ["a picture"] for image in texts}
    assert chair(pair(silent, texts), truth)["CHAIRs"].corpus == 0
    stars = chair(pair(silent, dict.fromkeys(texts, "crosses and stars")), truth)
    absent = [("cross" not in here) + ("star" not in here) for here in shapes.values()]
    assert stars["CHAIRi"].corpus == pytest.approx(sum(absent) / (2 * len(shapes)))
    assert stars["CHAIRs"].corpus == pytest.approx(sum(map(bool, absent)) / len(shapes))


def test_the_command_says_what_chair_is_measured_against(tmp_path, capsys):
    references = {"images": [{"id": 7}], "annotations": [{"image_id": 7, "caption": "a dog"}]}
    instances = {
        "images": [{"id": 7}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 1}],
    }
    files = {"r": references, "c": [{"image_id": 7, "caption": "a dog and a cat"}], "i": instances}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    options = Options(tmp_path / "r.json", (tmp_path / "c.json",), chair=True)
    score_command(dataclasses.replace(options, json=tmp_path / "out.json"))
    assert "chair against the words of the references alone" in capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["metrics"]["CHAIRi"] == 0.5 and report["hallucinated"] == {"7": ["cat"]}
    score_command(dataclasses.replace(options, instances=tmp_path / "i.json"))
    assert "chair against COCO's instances and the references" in capsys.readouterr().out
