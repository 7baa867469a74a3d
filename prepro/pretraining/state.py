"""The state of a training run: what a checkpoint holds."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from prepro.encoders import Encoder


@dataclass
class Training:
    """What changes while training; all of it is in last.pt."""

    encoder: Encoder
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    epoch: int = 0
    best: float = math.inf

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the average where there is one."""
        return self.average.module if self.average else self.encoder.network

    def parts(self) -> dict:
        parts = {"network": self.encoder.network, "optimizer": self.optimizer}
        parts |= {"scaler": self.scaler, "average": self.average}
        return {name: part for name, part in parts.items() if part is not None}
