"""prepro.labels with mutated annotations in each format."""

import json
import random
from pathlib import Path

from eval import command
from prepro import labels
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import NUMBERS, damage, mutate_json

SPLITS = ("train", "val", "test", "train", "train")
CAPTIONS = ("a dog runs", "a cat, and a bird", 'two "big" dogs', "the man sits", "nothing")


def prepare(folder: Path) -> dict:
    rows = [(i, f"{i}.jpg", SPLITS[i % 5], CAPTIONS[i % 5]) for i in range(12)]
    coco = {
        "images": [{"id": i, "file_name": name, "split": split} for i, name, split, _ in rows],
        "annotations": [{"id": i, "image_id": i, "caption": text} for i, *_, text in rows],
    }
    karpathy = {
        "images": [
            {"imgid": i, "filename": name, "split": split, "sentences": [{"raw": text}]}
            for i, name, split, text in rows
        ]
    }
    table = "image,split,caption\n" + "".join(
        f'{name},{split},"{text.replace(chr(34), chr(34) * 2)}"\n' for _, name, split, text in rows
    )
    lines = "".join(
        json.dumps({"image": name, "split": split, "caption": text}) + "\n"
        for _, name, split, text in rows
    )
    flickr = "".join(f"{name}#0\t{text}\n" for _, name, _, text in rows)
    return {
        "coco.json": coco, "karpathy.json": karpathy, "captions.csv": table,
        "captions.jsonl": lines, "tokens.txt": flickr,
    }  # fmt: skip


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    name = rng.choice(list(made))
    value, path = made[name], folder / name
    if isinstance(value, str):
        path.write_bytes(damage(rng, value.encode()))
    elif rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 3))):
            value = mutate_json(rng, value)
        path.write_text(json.dumps(value, ensure_ascii=False), "utf-8", "surrogatepass")
    else:
        path.write_bytes(damage(rng, json.dumps(value).encode()))
    words = ["--annotations", str(path), "--images", str(folder), "--out", str(folder / "out")]
    if rng.random() < 0.2:
        words += [rng.choice(("--max-length", "--min-count")), str(rng.choice(NUMBERS))]
    found = run(lambda: labels.main(command.parse(labels.Options, words)))
    if found.status == 0:
        from prepro.storage.label_file import read_labels

        found = run(lambda: read_labels(folder / "out") and None)
    return f"{name} {path.read_bytes()[:200]!r}", found
