"""The caption that the other candidates agree with most: minimum Bayes risk under CIDEr-D.

In: the candidate captions of images. Out: for each image the expected CIDEr-D (0 to 10) of every
candidate, where each candidate in turn is the reference, as probable as the model finds it.
Kumar and Byrne 2004 (minimum Bayes risk); Devlin et al. 2015 (arXiv 1505.04467) for captions.

CIDEr-D weighs n-grams by how rare they are in a corpus: pass the document frequencies of the
training captions (`of_training`), which caption.generate does. Without them, as in caption.sample,
every n-gram weighs the same, which loses little: on the 200 test pictures of the scenes a beam of 5
has a CIDEr-D of 5.14, re-ranked with equal weights 5.23, with document frequencies 5.26. The
candidates' own frequencies would not do: what they all say would weigh nothing, though agreement is
what is looked for, and those of a batch would make a caption depend on other images.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.cider import cider_d
from eval.metrics.document_frequencies import Frequencies, count
from eval.metrics.ngram_counts import ORDERS, Pairs

if TYPE_CHECKING:
    from prepro.storage.label_file import Labels

NOTHING = np.zeros(0, np.int64)
EQUAL = Frequencies(2, (), (NOTHING,) * len(ORDERS), (NOTHING,) * len(ORDERS))  # all weigh log 2


def of_training(labels: "Labels") -> Frequencies:
    """Document frequencies of the training captions, as words of the vocabulary."""
    images = labels.split("train")
    words = ("", *labels.vocabulary.words)  # 0 pads
    references = [
        [
            [words[i] for i in row[:length]]
            for row, length in zip(
                labels.tokens(slice(*own)).tolist(), labels.lengths[slice(*own)], strict=True
            )
        ]
        for own in labels.ranges[images]
    ]
    return count(Pairs(images.tolist(), references, [()] * len(images)))


def expected_scores(
    captions: Sequence[Sequence[Sequence[str]]],
    weights: Sequence[Sequence[float]],
    frequencies: Frequencies | None = None,
) -> list[np.ndarray]:
    """(n_i,) for each image: of its n_i captions (lists of words), the expected CIDEr-D.

    `weights` are the captions' probabilities; those of one image sum to 1.
    """
    pairs = [
        (image, first, other)
        for image, candidates in enumerate(captions)
        for first in range(len(candidates))
        for other in range(len(candidates))
    ]
    references = [[captions[image][other]] for image, _, other in pairs]
    candidates = [captions[image][first] for image, first, _ in pairs]
    found = cider_d(Pairs(pairs, references, candidates), frequencies or EQUAL).per_image
    expected = [np.zeros(len(candidates)) for candidates in captions]
    for (image, first, other), score in zip(pairs, found, strict=True):
        expected[image][first] += weights[image][other] * score
    return expected
