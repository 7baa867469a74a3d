"""The pictures whose captions say left or right, which mirroring would make false."""

import re

import numpy as np

from prepro.storage.label_file import Labels

CHUNK = 1 << 16  # captions that are looked at at a time
LEFT_OR_RIGHT = re.compile(r"\b(left|right)(most|wards?|[- ]?hand(ed)?|side)?\b", re.IGNORECASE)


def mentions_left_or_right(labels: Labels) -> np.ndarray:
    """(N,) bool: the images with a caption that mirroring would make false.

    By the captions' tokens, and by their text: the word may be rare, or cut from a long caption.
    """
    words = [
        i for i, word in enumerate(labels.vocabulary.words, 1) if LEFT_OR_RIGHT.fullmatch(word)
    ]
    says = np.zeros(len(labels.labels), bool)  # by caption
    for start in range(0, len(says), CHUNK):
        some = slice(start, start + CHUNK)
        says[some] = np.isin(labels.labels[some], words).any(1)
    counts = np.append(0, says.cumsum(dtype=np.int32))  # of captions, running
    first, last = labels.ranges.T
    texts = (any(map(LEFT_OR_RIGHT.search, record.captions)) for record in labels.records)
    return (counts[last] > counts[first]) | np.fromiter(texts, bool)
