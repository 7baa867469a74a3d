"""Captioner.load with tampered headers and damaged model files."""

import json
import random
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from caption import sample
from eval import command
from tests.caption import tiny_runs
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import damage, mutate_json


def prepare(folder: Path) -> dict:
    tiny = tiny_runs.make(folder / "tiny", ("newfc", "topdown", "transformer"))
    files = {name: path / "model.safetensors" for name, path in tiny.runs.items()}
    return {"files": files, "picture": sorted((tiny.data / "images").iterdir())[0]}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    source = made["files"][rng.choice(list(made["files"]))]
    path, key = folder / "model.safetensors", "bytes"
    if rng.random() < 0.8:
        with safe_open(source, "pt") as file:
            header = dict(file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        key = rng.choice(list(header))
        if rng.random() < 0.1:
            header[key] = rng.choice(("", "{", "[" * 100_000, "NaN", "1e999"))
        else:
            header[key] = json.dumps(mutate_json(rng, json.loads(header[key])))
        if rng.random() < 0.1:
            tensors.pop(rng.choice(list(tensors)))
        save_file(tensors, path, header)
    else:
        path.write_bytes(damage(rng, source.read_bytes()))
    words = [str(made["picture"]), "--run", str(path), "--device", "cpu"]
    found = run(lambda: sample.main(command.parse(sample.Options, words)))
    return f"{source.parent.name} {key}", found
