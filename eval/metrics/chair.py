"""CHAIR: how often captions name objects that are not in the picture; lower is better.

In: `Pairs`, and a `Truth`: the objects of each image by COCO's instances, or the shapes of the
drawn scenes (None when there is none). Out: `Scores` of CHAIRs, the share of captions that name an
object that is not there, and of CHAIRi, the share of the named objects that are not there. An
object is there if the truth or a reference names it.

coco_objects.txt has COCO's 80 objects with the synonyms of the paper, one object a line. The paper
makes words singular with the package pattern; here an English plural is singular by the rules of
`singular`. Rohrbach et al.: Object hallucination in image captioning, EMNLP 2018.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.files import read_json
from eval.metrics.ngram_counts import Pairs, Scores, mean_scores
from eval.scene_statements import read_scenes

LIST = Path(__file__).with_name("coco_objects.txt")
ANIMALS = "bird cat dog horse sheep cow elephant bear zebra giraffe animal cub".split()
# two words that are one name, and the name that they stand for
COMPOUNDS = {
    **{f"{age} {animal}": animal for age in ("baby", "adult") for animal in ANIMALS},
    **{f"passenger {vehicle}": vehicle for vehicle in ("jet", "train")},
    "bow tie": "tie",
    "toilet seat": "toilet",
    "home plate": "home plate",
}
IRREGULAR = {
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "geese": "goose",
    "knives": "knife",
    "calves": "calf",
    "policemen": "policeman",
    "servicemen": "serviceman",
    "buses": "bus",
}


class Mention(NamedTuple):
    """An object that a caption names."""

    start: int  # its first word
    length: int  # in words
    object: str  # one of COCO's 80, or a shape


@dataclass(frozen=True)
class Truth:
    """What is in the images, by another source than captions."""

    source: str
    objects: Mapping[Hashable, set[str]]  # by image id
    names: Mapping[str, str]  # the object by each of its names


@cache
def object_of() -> dict[str, str]:
    """COCO's object by each of its names."""
    found = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        name, _, synonyms = line.partition(":")
        found |= dict.fromkeys([name, *filter(None, synonyms.strip().split(", "))], name)
    return found


def singular(word: str, names: Mapping[str, str]) -> str:
    """The singular of an English noun; `names` of objects stay as they are."""
    if word in names or word in ("ss", "s"):
        return word
    if word in IRREGULAR:
        return IRREGULAR[word]
    for plural, ending in (("ies", "y"), ("es", ""), ("s", "")):
        base = word.removesuffix(plural) + ending
        if word.endswith(plural) and (base in names or base in ANIMALS):
            return base
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word.removesuffix("es")
    return word.removesuffix("s") if not word.endswith("ss") else word


def mentions(words: Sequence[str], names: Mapping[str, str] | None = None) -> list[Mention]:
    """The objects that a tokenised caption names, from left to right; by default COCO's."""
    names = object_of() if names is None else names
    found, start = [], 0
    words = [singular(word, names) for word in words]
    while start < len(words):
        two = " ".join(words[start : start + 2])
        length = 2 if two in COMPOUNDS or two in names else 1
        name = COMPOUNDS.get(two, two) if length == 2 else words[start]
        if name in names and not (name == "seat" and "toilet" in words):
            found.append(Mention(start, length, names[name]))
        start += length
    return found


def hallucinated(
    words: Sequence[str], there: Iterable[str], names: Mapping[str, str] | None = None
) -> list[Mention]:
    """The objects that a tokenised caption names and that are not `there`."""
    there = set(there)
    return [mention for mention in mentions(words, names) if mention.object not in there]


def objects_there(pairs: Pairs, truth: Truth | None) -> list[set[str]]:
    """By image of `pairs`, the objects that the truth or a reference names."""
    names = truth.names if truth else object_of()
    known = truth.objects if truth else {}
    return [
        {mention.object for words in references for mention in mentions(words, names)}
        | known.get(image, set())
        for image, (references, _) in zip(pairs.ids, pairs.by_image(), strict=True)
    ]


def hallucinated_objects(
    several: Sequence[Pairs], truth: Truth | None
) -> dict[Hashable, list[str]]:
    """By image, the objects that a caption names and that are not there.

    `several` are captions of the same images with the same references.
    """
    names = truth.names if truth else None
    there = objects_there(several[0], truth)
    found: dict[Hashable, dict[str, None]] = {}
    for pairs in several:
        for image, known, (_, words) in zip(pairs.ids, there, pairs.by_image(), strict=True):
            for mention in hallucinated(words, known, names):
                found.setdefault(image, {})[mention.object] = None
    return {image: list(objects) for image, objects in found.items()}


def chair(pairs: Pairs, truth: Truth | None = None) -> dict[str, Scores]:
    """CHAIRs and CHAIRi in 0..1; without a truth, against the words of the references alone."""
    names = truth.names if truth else object_of()
    counts = [
        (len(hallucinated(candidate, there, names)), len(mentions(candidate, names)))
        for there, (_, candidate) in zip(objects_there(pairs, truth), pairs.by_image(), strict=True)
    ]
    parts = np.array(counts, float)  # (N, 2)
    images = mean_scores((parts[:, 0] > 0).astype(float))
    return {
        "CHAIRs": images,
        "CHAIRi": Scores(float(_share(parts.sum(0))), _share(parts), parts, _share),
    }


def measured_against(truth: Truth | None) -> str:
    """What CHAIR of these captions is measured against, in words."""
    return f"{truth.source} and the references" if truth else "the words of the references alone"


def _share(counts: np.ndarray) -> np.ndarray:
    """(...) hallucinated objects of all that are named, 0 where none is."""
    return counts[..., 0] / np.maximum(counts[..., 1], 1)


@lru_cache(maxsize=1)
def read_truth(path: Path) -> Truth:
    """The truth in COCO's instances or in the annotations of prepro.scenes.

    Raises ValueError when the file is something else.
    """
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list) and all("objects" in image for image in images):
        scenes = {
            image: {thing["shape"] for thing in things}
            for image, things in read_scenes(path).items()
        }
        shapes = set().union(*scenes.values())
        return Truth("the shapes of the scenes", scenes, {shape: shape for shape in shapes})
    return Truth("COCO's instances", _instances(content, path), object_of())


def _instances(content: object, path: Path) -> dict[int, set[str]]:
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        found: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
        for annotation in content["annotations"]:
            found[annotation["image_id"]].add(object_of()[names[annotation["category_id"]]])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not COCO's instances ({error!r})") from None
    return found
