"""A run whose checkpoint, options or metrics log is damaged, and its resumption."""

import copy
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

from caption.config import TrainConfig
from caption.training import checkpoint
from caption.training.curves import draw
from caption.training.setup import open_trainer
from prepro.runtime.distributed import init_distributed
from tests.caption.drawn_folder import make_folder
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import damage, mutate_json

PLAIN = ("progress", "config", "vocabulary", "features", "captions", "ema_warmup")
PARTS = ("model", "optimizer")


def prepare(folder: Path) -> dict:
    data = make_folder(folder / "data", train=6, val=2)
    config = TrainConfig(data=data, out=folder / "run", hidden=8, embedding=8, epochs=1)
    with open_trainer(config, init_distributed("cpu")) as trainer:
        trainer.save(best=trainer.validate())
    return {"config": config}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    config = replace(made["config"], out=folder / "run")
    shutil.copytree(made["config"].out, config.out)
    kind = rng.choice((_state, _state, _options, _log, _pointer))
    detail = kind(rng, config.out)
    found = run(lambda: _resume(config))
    shutil.rmtree(config.out)
    return f"{kind.__name__} {detail}", found


def _resume(config: TrainConfig) -> None:
    kept = TrainConfig.from_dict(json.loads((config.out / "config.json").read_text()), "config")
    with open_trainer(replace(kept, out=config.out, resume=True), init_distributed("cpu")) as one:
        one.save(best=False)
    draw([config.out], config.out / "curves.svg")


def _state(rng: random.Random, folder: Path) -> str:
    state = copy.copy(checkpoint.load(folder))
    name = rng.choice((*PLAIN, *PARTS))
    if name in PLAIN:
        state[name] = mutate_json(rng, state.get(name))
    elif rng.random() < 0.3:
        state[name] = mutate_json(rng, {})
    else:
        part = dict(state[name])
        part[rng.choice(list(part))] = rng.choice((None, 5, [], {}, {"x": [1]}, "text"))
        state[name] = part
    checkpoint.save(folder, state, 1, best=False)
    return f"{name} {str(state[name])[:200]}"


def _options(rng: random.Random, folder: Path) -> str:
    path = folder / "config.json"
    value = mutate_json(rng, json.loads(path.read_text()))
    path.write_text(json.dumps(value))
    return str(value)[:200]


def _log(rng: random.Random, folder: Path) -> str:
    path = folder / "metrics.jsonl"
    rows = [mutate_json(rng, json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(rows)[:200]


def _pointer(rng: random.Random, folder: Path) -> str:
    path = folder / "last.json"
    path.write_bytes(damage(rng, path.read_bytes()))
    return repr(path.read_bytes()[:200])
