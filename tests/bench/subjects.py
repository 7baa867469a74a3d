"""How often a caption begins with the subject that a person named: who or what, one or several.

    python -m tests.bench.subjects --data data/flickr8k --results a.json b.json

The subject is the first noun of a short list of people and animals (SUBJECTS). A caption is right
if one of the picture's own captions has the same subject. Prints the number of pictures of the
split val, and for two files in how many pictures only one of them is right.
"""

import argparse
import re
from pathlib import Path

from eval.files import read_json
from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import read_labels

SUBJECTS = {
    "man": "man guy gentleman surfer skier snowboarder biker cyclist skateboarder climber",
    "woman": "woman lady", "boy": "boy", "girl": "girl", "child": "child kid baby toddler",
    "dog": "dog puppy greyhound", "bird": "bird", "person": "person someone rider player",
    "men": "men guys", "women": "women ladies", "boys": "boys", "girls": "girls",
    "children": "children kids", "dogs": "dogs puppies greyhounds", "birds": "birds",
    "people": "people group crowd players couple cyclists bikers",
}  # fmt: skip
"""a subject and the nouns that name it"""
NOUNS = {noun: subject for subject, nouns in SUBJECTS.items() for noun in nouns.split()}


def subject(caption: str) -> str | None:
    """The subject of a caption, None if it names none of the list."""
    words = re.findall(r"[a-z]+", caption.lower())
    return next((NOUNS[word] for word in words if word in NOUNS), None)


def is_right(caption: str, record: ImageRecord) -> bool:
    found = subject(caption)
    return found is not None and found in map(subject, record.captions)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    labels = read_labels(options.data)
    records = [labels.records[row] for row in labels.split("val")]
    right = []
    for path in options.results:
        captions = {row["image_id"]: row["caption"] for row in read_json(path)}
        right.append([is_right(captions[record.id], record) for record in records])
        print(f"{path}: the subject of {sum(right[-1]):,} of {len(records):,}")
    if len(right) == 2:
        pairs = list(zip(*right, strict=True))
        print(f"only the first: {pairs.count((True, False)):,}", end=", ")
        print(f"only the second: {pairs.count((False, True)):,}")


if __name__ == "__main__":
    main()
