"""torchrun with two and four processes: the weights of one, and one copy of the features."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caption.training import checkpoint
from tests.caption.drawn_folder import make_folder

ROOT = Path(__file__).resolve().parents[3]
FLAGS = (
    "--decoder", "topdown", "--hidden", "16", "--embedding", "16", "--dropout", "0", "--epochs",
    "2", "--batch-size", "10", "--captions-per-image", "3", "--device", "cpu", "--workers", "0",
    "--learning-rate", "1e-4",  # Adam makes the last bits of small gradients into whole steps
)  # fmt: skip
PROGRAM = """
import json, os, sys
from pathlib import Path
from caption import train
from caption.data.feature_store import FeatureStore
from eval import command

begin, stores, places = FeatureStore.__init__, [], Path(sys.argv.pop())

def remember(store, *rest):
    begin(store, *rest)
    stores.append(store)

FeatureStore.__init__ = remember
status = command.finish(train.main)
maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
found = []
for tensor in (stores[0].fc, stores[0].att):
    for place, _, _, device, inode, *path in maps:
        first, last = (int(end, 16) for end in place.split("-"))
        if first <= tensor.data_ptr() < last:
            found.append([device, inode, tensor.data_ptr() + tensor.nbytes <= last])
(places / os.environ.get("RANK", "0")).write_text(json.dumps(found))
sys.exit(status)
"""


def train(world: int, data: Path, out: Path) -> tuple[dict[str, torch.Tensor], list]:
    """The weights after training, and where each process has its features."""
    places = out / "places"
    places.mkdir(parents=True)
    (out / "program.py").write_text(PROGRAM)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world))
    words = (out / "program.py", *FLAGS, "--data", data, "--out", out / "run", places)
    done = subprocess.run(
        [sys.executable, *(launcher if world > 1 else ()), *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, cwd=ROOT,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads((places / str(rank)).read_text()) for rank in range(world)]
    return checkpoint.load(out / "run")["model"], found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """51 pictures in batches of 10: the last batch has one, and three of four processes none."""
    return make_folder(tmp_path_factory.mktemp("torchrun") / "data", train=51, val=5)


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """After twelve steps of one process."""
    return train(1, data, tmp_path_factory.mktemp("one"))[0]


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_to_the_weights_of_one(
    world: int, data: Path, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """The features of all lie in one mapped file, whose pages the machine holds once."""
    found, places = train(world, data, tmp_path)
    assert found.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, msg=name)
    fc, att = places[0]
    assert fc == att and int(fc[1]) > 0 and fc[2] and places == [[fc, att]] * world
