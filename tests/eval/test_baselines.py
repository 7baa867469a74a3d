"""The shortlist of constant captions against cosines computed with matrices."""

import math

import numpy as np

from eval.baselines import people, shortlist
from eval.scoring import score
from eval.tokenizer import tokenize

REFERENCES = {
    1: ["a dog runs in the snow", "a dog", "the brown dog runs and runs"],
    2: ["a cat sits", "a cat sits on a mat in the sun", "a cat"],
    3: ["two dogs run", "a dog runs", "dogs in the snow"],
}


def grams(text: str) -> list[tuple[str, ...]]:
    words = tokenize(text)
    return [tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1)]


def test_captions_come_by_their_cosine_with_all_references():
    texts = sorted({text for captions in REFERENCES.values() for text in captions})
    columns = sorted({gram for text in texts for gram in grams(text)})
    images = [
        {gram for text in captions for gram in grams(text)} for captions in REFERENCES.values()
    ]
    df = np.array([sum(gram in image for image in images) for gram in columns])
    idf = math.log(len(images)) - np.log(df)
    counts = np.array([[grams(text).count(gram) for gram in columns] for text in texts])
    vectors, target = counts * idf, df * idf
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ target / np.where(lengths == 0, 1, lengths)
    expected = [texts[i] for i in sorted(range(len(texts)), key=lambda i: (-cosines[i], texts[i]))]
    assert shortlist(REFERENCES) == expected


def test_people_are_scored_on_their_first_caption():
    others = {image: captions[1:] for image, captions in REFERENCES.items()}
    first = {image: captions[0] for image, captions in REFERENCES.items()}
    assert people(REFERENCES) == score(others, first).corpus
