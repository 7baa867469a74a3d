"""eval.score with mutated references and results."""

import json
import random
from pathlib import Path

from eval import command, score
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import NUMBERS, damage, mutate_json

WORDS = ("a", "dog", "runs", "in", "the", "snow", "1/2", "don't", "-LRB-", "....")


def prepare(folder: Path) -> dict:
    rng = random.Random(0)

    def caption() -> str:
        return " ".join(rng.choices(WORDS, k=6))

    return {
        "references": {
            "images": [{"id": i} for i in range(8)],
            "annotations": [{"image_id": i % 8, "id": i, "caption": caption()} for i in range(24)],
        },
        "results": [{"image_id": i, "caption": caption()} for i in range(8)],
    }


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    chosen, words = rng.choice(list(made)), []
    for name, value in made.items():
        path = folder / f"{name}.json"
        if name == chosen and rng.random() < 0.3:
            path.write_bytes(damage(rng, json.dumps(value).encode()))
        else:
            value = mutate_json(rng, value) if name == chosen else value
            path.write_text(json.dumps(value))
        words += [f"--{name}", str(path)]
    more = rng.random()
    if more < 0.3:
        words += ["--subset"]
    if more < 0.1:
        words += ["--bootstrap", str(rng.choice((*NUMBERS, 10)))]
    found = run(lambda: score.main(command.parse(score.Options, words)))
    return f"{chosen} {(folder / f'{chosen}.json').read_bytes()[:200]!r}", found
