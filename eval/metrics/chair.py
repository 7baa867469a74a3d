"""CHAIR: how often captions name objects that are not in the picture; lower is better.

In: `Pairs`, and the objects of each image by COCO's instances (None when there are none). Out:
`Scores` of CHAIRs, the share of captions that name such an object, and of CHAIRi, the share of the
named objects that are not there. An object is there if the instances or a reference name it.

coco_objects.txt has COCO's 80 objects with the synonyms of the paper, one object a line. The paper
makes words singular with the package pattern; here an English plural is singular by the rules of
`singular`. Rohrbach et al.: Object hallucination in image captioning, EMNLP 2018.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.files import read_json
from eval.metrics.ngram_counts import Pairs, Scores, mean_scores

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
    object: str  # one of COCO's 80


@cache
def object_of() -> dict[str, str]:
    """COCO's object by each of its names."""
    found = {}
    for line in LIST.read_text(encoding="utf-8").splitlines():
        name, _, synonyms = line.partition(":")
        found |= dict.fromkeys([name, *filter(None, synonyms.strip().split(", "))], name)
    return found


def singular(word: str) -> str:
    """The singular of an English noun; names in the list stay as they are."""
    if word in object_of() or word in ("ss", "s"):
        return word
    if word in IRREGULAR:
        return IRREGULAR[word]
    for plural, ending in (("ies", "y"), ("es", ""), ("s", "")):
        base = word.removesuffix(plural) + ending
        if word.endswith(plural) and (base in object_of() or base in ANIMALS):
            return base
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word.removesuffix("es")
    return word.removesuffix("s") if not word.endswith("ss") else word


def mentions(words: Sequence[str]) -> list[Mention]:
    """The objects that a tokenised caption names, from left to right."""
    known, found, start = object_of(), [], 0
    words = [singular(word) for word in words]
    while start < len(words):
        two = " ".join(words[start : start + 2])
        length = 2 if two in COMPOUNDS or two in known else 1
        name = COMPOUNDS.get(two, two) if length == 2 else words[start]
        if name in known and not (name == "seat" and "toilet" in words):
            found.append(Mention(start, length, known[name]))
        start += length
    return found


def hallucinated(words: Sequence[str], there: Iterable[str]) -> list[Mention]:
    """The objects that a tokenised caption names and that are not `there`."""
    there = set(there)
    return [mention for mention in mentions(words) if mention.object not in there]


def chair(
    pairs: Pairs, instances: Mapping[Hashable, Iterable[str]] | None = None
) -> dict[str, Scores]:
    """CHAIRs and CHAIRi in 0..1; without `instances`, against the words of the references alone."""
    counts = []
    for image, (references, candidate) in zip(pairs.ids, pairs.by_image(), strict=True):
        there = {mention.object for words in references for mention in mentions(words)}
        there |= set(instances.get(image, ())) if instances is not None else set()
        counts.append((len(hallucinated(candidate, there)), len(mentions(candidate))))
    parts = np.array(counts, float)  # (N, 2)
    images = mean_scores((parts[:, 0] > 0).astype(float))
    return {
        "CHAIRs": images,
        "CHAIRi": Scores(float(_share(parts.sum(0))), _share(parts), parts, _share),
    }


def _share(counts: np.ndarray) -> np.ndarray:
    """(...) hallucinated objects of all that are named, 0 where none is."""
    return counts[..., 0] / np.maximum(counts[..., 1], 1)


def read_instances(path: Path) -> dict[int, set[str]]:
    """The objects in each image of COCO's instances file; ValueError when it is something else."""
    content = read_json(path)
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        found: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
        for annotation in content["annotations"]:
            found[annotation["image_id"]].add(object_of()[names[annotation["category_id"]]])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not COCO's instances ({error!r})") from None
    return found
