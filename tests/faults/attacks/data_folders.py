"""A data folder whose labels.json, labels.h5 or features.h5 is damaged, and a training on it."""

import json
import random
import shutil
from pathlib import Path

import h5py
import numpy as np

from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.training.setup import open_trainer
from prepro.runtime.distributed import init_distributed
from tests.caption.drawn_folder import make_folder
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import damage, hostile, mutate_json

FILES = ("labels.json", "labels.h5", "features.h5")


def prepare(folder: Path) -> dict:
    return {"data": make_folder(folder / "data", train=6, val=2)}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    data = folder / "copy"
    shutil.copytree(made["data"], data)
    name = rng.choice(FILES)
    path, detail = data / name, "bytes"
    if name == "labels.json" and rng.random() < 0.7:
        value = mutate_json(rng, json.loads(path.read_text()))
        if rng.random() < 0.5 and isinstance(value, dict):
            value.pop("arrays_sha256", None)
        path.write_text(json.dumps(value))
    elif name != "labels.json" and rng.random() < 0.6:
        detail = _edit(rng, path)
    else:
        path.write_bytes(damage(rng, path.read_bytes()))
    found = run(lambda: _read(data, folder / "run"))
    shutil.rmtree(data)
    shutil.rmtree(folder / "run", ignore_errors=True)
    return f"{name} {detail}", found


def _edit(rng: random.Random, path: Path) -> str:
    """Change an attribute or replace a dataset by one of another kind or shape."""
    with h5py.File(path, "r+") as file:
        if rng.random() < 0.4 and len(file.attrs):
            name, value = rng.choice(list(file.attrs)), hostile(rng)
            try:
                file.attrs[name] = value if value is not None else h5py.Empty("f")
            except (TypeError, ValueError):
                file.attrs[name] = np.zeros((2, 2))
            return f"attribute {name} {str(value)[:40]!r}"
        name = rng.choice(list(file))
        old = file[name][:]
        del file[name]
        kind = rng.randrange(4)
        if kind == 0:
            file[name] = old[: len(old) // 2]
        elif kind == 1:
            file[name] = np.full(old.shape, rng.choice((-1, 2**31 - 1, 0)), np.int64)
        elif kind == 2:
            file[name] = np.full(old.shape, np.nan, np.float64)
        else:
            file.create_group(name)
        return f"dataset {name} {kind}"


def _read(data: Path, out: Path) -> int | None:
    opened = DataFolder.open(data)
    rows = opened.split("train")
    opened.features.fc(rows)
    opened.features.att(rows)
    config = TrainConfig(data=data, out=out, decoder="newfc", hidden=8, embedding=8, batch_size=3)
    with open_trainer(config, init_distributed("cpu")) as trainer:
        trainer.validate()
    return 0
