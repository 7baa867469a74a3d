"""What captions must beat, and what people reach: the same metrics without any model.

    python -m eval.baselines --references data/scenes/labels.json --split test

constant: the one caption that scores best when every image gets it; it is looked for among the
references, so it knows more than any model should. people: each image's first caption against
the others.
"""

import math
import sys
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval import command
from eval.caption_files import read_references
from eval.scene_statements import read_scenes, share_true
from eval.scoring import score
from eval.tokenizer import tokenize

Captions = Mapping[Hashable, Sequence[str]]
SHORTLIST = 25  # captions nearest to the centre of all references, which are scored exactly


@dataclass(frozen=True)
class Options:
    """Score the best constant caption, and people against people.

    Example: python -m eval.baselines --references data/scenes/labels.json --split test
    """

    references: Path = Path("data/scenes/labels.json")
    """as in eval.score"""
    split: str | None = None
    """as in eval.score"""
    scenes: Path | None = None
    """the annotations that prepro.scenes wrote, to check what is true of a constant caption"""


def main(options: Options) -> None:
    references = read_references(options.references, options.split)
    caption, scores = best_constant(references)
    print(f'constant  {_row(scores)}  "{caption}"')
    if all(len(captions) > 1 for captions in references.values()):
        print(f"people    {_row(people(references))}")
    if options.scenes:
        scenes = read_scenes(options.scenes)
        texts = {text for captions in references.values() for text in captions}
        truth = max((share_true(dict.fromkeys(references, t), scenes), t) for t in texts)
        print(f'true statements of a constant caption, at best  {truth[0]:.4f}  "{truth[1]}"')


def best_constant(references: Captions) -> tuple[str, dict[str, float]]:
    """The caption with the highest CIDEr-D when every image gets it, and its scores."""
    tried = (
        (text, score(references, dict.fromkeys(references, text)).corpus)
        for text in shortlist(references)
    )
    return max(tried, key=lambda found: found[1]["CIDEr-D"])


def people(references: Captions) -> dict[str, float]:
    """Scores of each image's first caption against its others."""
    others = {image: captions[1:] for image, captions in references.items()}
    return score(others, {image: captions[0] for image, captions in references.items()}).corpus


def shortlist(references: Captions) -> list[str]:
    """Captions by the cosine between their n-grams (1 to 4, TF-IDF) and those of all references."""
    images = [[_ngrams(text) for text in captions] for captions in references.values()]
    df = Counter(gram for captions in images for gram in set().union(*captions))
    log_images = math.log(len(images))

    def nearness(text: str) -> float:
        grams = _ngrams(text)
        weight = {gram: count * (log_images - math.log(df[gram])) for gram, count in grams.items()}
        length = math.sqrt(sum(w * w for w in weight.values())) or 1.0
        pull = sum(w * (log_images - math.log(df[g])) * df[g] for g, w in weight.items())
        return pull / length

    texts = {text for captions in references.values() for text in captions}
    return sorted(texts, key=lambda text: (-nearness(text), text))[:SHORTLIST]


def _ngrams(text: str) -> Counter:
    words = tokenize(text)
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def _row(scores: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {scores[name]:.3f}" for name in ("BLEU-4", "ROUGE-L", "CIDEr-D"))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
