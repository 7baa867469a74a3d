"""Check captions of the drawn scenes: is each of their statements true?

In: captions, and the objects of the scenes (prepro.scenes writes them into annotations.json).
Out: the share of true statements. The command is `python -m eval.statements`.

A phrase such as "two red stars" makes two statements: red stars exist, and there are two of them.
A relation such as "left of" makes one more. A caption that does not fit the grammar counts as one
false statement, so that a vague caption gains nothing.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from eval.files import read_json

NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
RELATIONS = {  # words -> axis of the centre, and which way it differs
    "left of": (0, -1),
    "to the left of": (0, -1),
    "right of": (0, 1),
    "to the right of": (0, 1),
    "above": (1, -1),
    "over": (1, -1),
    "below": (1, 1),
    "under": (1, 1),
    "and": None,
}
PHRASE = r"(?P<number{0}>an?|one|two|three) (?P<color{0}>[a-z]+) (?P<shape{0}>[a-z]+)"
SENTENCE = re.compile(
    r"(?:there (?:is|are) |a picture of |this shows |i see )?"
    + PHRASE.format(1)
    + r"(?: (?P<relation>"
    + "|".join(RELATIONS)
    + ") "
    + PHRASE.format(2)
    + r")?[.]?"
)


def share_true(
    captions: Mapping[Hashable, str], scenes: Mapping[Hashable, Sequence[Mapping]]
) -> float:
    """True statements over all statements; `scenes` gives each image's objects."""
    verdicts = [v for image, text in captions.items() for v in statements(text, scenes[image])]
    return sum(verdicts) / len(verdicts)


def statements(caption: str, objects: Sequence[Mapping]) -> list[bool]:
    """One verdict a statement; [False] for a sentence without a checkable statement."""
    found = SENTENCE.fullmatch(caption.strip().lower())
    if not found:
        return [False]
    first = _named(objects, found["color1"], found["shape1"])
    verdicts = [bool(first), len(first) == NUMBERS[found["number1"]]]
    if found["relation"]:
        second = _named(objects, found["color2"], found["shape2"])
        verdicts += [bool(second), len(second) == NUMBERS[found["number2"]]]
        relation = RELATIONS[found["relation"]]
        if relation:
            verdicts.append(_holds(relation, first, second))
    return verdicts


def _named(objects: Sequence[Mapping], color: str, shape: str) -> list[tuple[float, float]]:
    """Centres of the objects of that colour and kind, singular or plural."""
    types = {shape, shape.removesuffix("s"), shape.removesuffix("es")}
    return [
        (thing["box"][0] + thing["box"][2] / 2, thing["box"][1] + thing["box"][3] / 2)
        for thing in objects
        if thing["color"] == color and thing["shape"] in types
    ]


def _holds(relation: tuple[int, int], first: list, second: list) -> bool:
    """Every one of the first lies on that side of every one of the second."""
    axis, side = relation
    return bool(first and second) and all(
        (a[axis] - b[axis]) * side > 0 for a in first for b in second
    )


def read_scenes(path: Path) -> dict[Hashable, list[dict]]:
    """The objects of each scene; ValueError for annotations without them."""
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not all("objects" in image for image in images):
        raise ValueError(f"{path}: images without objects; expected what prepro.scenes writes")
    return {image["id"]: image["objects"] for image in images}
