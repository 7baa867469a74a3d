"""The checkpoint of a training run, last.pt, from which --resume continues.

In: a TrainingState, and the settings of the run. Out: a file of tensors and plain values with the
keys network, optimizer, scaler, average, epoch, best and settings.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from prepro.encoders import Encoder
from prepro.runtime.state_file import load_state, save_state

FILE_NAME = "last.pt"


@dataclass
class TrainingState:
    """Everything that changes while training; all of it is in the checkpoint."""

    encoder: Encoder
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    """exponential moving average of the weights"""
    epoch: int = 0
    """how many are complete"""
    best: float = math.inf
    """the lowest error of an evaluation so far, in %"""

    @property
    def eval_network(self) -> nn.Module:
        """The network that is evaluated and exported: the average if there is one."""
        return self.average.module if self.average else self.encoder.network

    def modules(self) -> dict:
        """The parts with a state dict, by their keys in the checkpoint."""
        modules = {"network": self.encoder.network, "optimizer": self.optimizer}
        modules |= {"scaler": self.scaler, "average": self.average}
        return {name: module for name, module in modules.items() if module is not None}


def save(folder: Path, state: TrainingState, settings: dict) -> None:
    """Write last.pt. settings: plain values that a resumed run must share."""
    content = {name: module.state_dict() for name, module in state.modules().items()}
    content |= {"epoch": state.epoch, "best": state.best, "settings": settings}
    save_state(folder / FILE_NAME, content)


def load(folder: Path, state: TrainingState, settings: dict) -> None:
    """Restore `state` from last.pt.

    ValueError for a damaged file, or if the run was trained with other settings.
    """
    path = folder / FILE_NAME
    content = load_state(path)
    saved = content.get("settings", content.get("meant"))  # older files: "meant"
    if saved is None:
        raise ValueError(f"{path}: not a checkpoint of prepro.pretrain")
    changed = [key for key, value in settings.items() if saved.get(key) != value]
    if changed:
        old = ", ".join(f"{key} {saved.get(key)} (now {settings[key]})" for key in changed)
        raise ValueError(f"{path}: this run was trained with {old}; resume with the same values")
    for name, module in state.modules().items():
        module.load_state_dict(content[name])
    state.epoch, state.best = content["epoch"], content["best"]
