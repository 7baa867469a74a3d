"""The words of runs beside those of people.

In: tokenised references and captions, a picture each. Out: for each run, the words that it never
says and the words that it says too often, with shares of captions that contain them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

SHOWN = 60  # words of each list
FEW = 3  # references that contain a word before it counts as common


def word_statistics(
    references: Sequence[Sequence[Sequence[str]]], captions: Sequence[Sequence[str]]
) -> dict[str, list]:
    """{"never": [[word, people's share]], "often": [[word, run's share, people's share]]}.

    `never` is sorted by people's share; `often` by how much the run's share exceeds it.
    """
    theirs = _containing(words for of_image in references for words in of_image)
    ours = _containing(captions)
    total, own_total = sum(map(len, references)), len(captions)
    never = [(word, n / total) for word, n in theirs.items() if n >= FEW and word not in ours]
    often = [(word, n / own_total, theirs[word] / total) for word, n in ours.items() if n > 1]
    often = [row for row in often if row[1] > row[2]]
    never.sort(key=lambda row: (-row[1], row[0]))
    often.sort(key=lambda row: (row[2] - row[1], row[0]))
    return {
        "never": [[word, round(share, 5)] for word, share in never[:SHOWN]],
        "never_count": len(never),
        "often": [[word, round(own, 5), round(people, 5)] for word, own, people in often[:SHOWN]],
    }


def _containing(captions: Iterable[Sequence[str]]) -> Counter:
    """How many captions contain each word."""
    return Counter(word for words in captions for word in set(words))
