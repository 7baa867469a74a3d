"""The flags of prepro.features; free of torch, so that --help answers at once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MOST_REGIONS = 32
"""the largest side of the grid of regions: 1,024 pixels at an encoder's usual stride"""


@dataclass(frozen=True)
class Options:
    """Extract the features of a data folder's pictures into features.h5.

    Features are what a frozen encoder network computes from a picture: one pooled vector, and one
    vector for each region of a grid. A stopped run continues when the same command runs again.

    Example: python -m prepro.features --data data/coco --encoder resnet101 --weights default
    """

    data: Path = Path("data/scenes")
    """the data folder that prepro.labels wrote"""
    encoder: str = "resnet101"
    """the name of the network; python -m prepro.encoders lists the names"""
    weights: str = "default"
    """its weights: default (torchvision's best), the name of torchvision weights, a file, or none
    (random)"""
    regions: int = 7
    """side of the grid of region features, such as that of the encoder's map; 0 stores only the
    pooled vector"""
    mode: Literal["default", "short", "square", "full"] = "default"
    """how a picture is resized: short (by its short side, then cropped), square (squashed, then
    cropped) or full (not cropped); default is what the weights were trained with"""
    resize: int | None = None
    """the length of that side in pixels; with full, of the longest side (0: never shrink)"""
    crop: int | None = None
    """side of the crop, in pixels"""
    batch_size: int = 16
    """pictures a batch; with full, as many pixels as this number of 224 x 224 crops"""
    workers: int = max(1, (os.cpu_count() or 2) // 2)
    """number of processes that decode and resize pictures; 0 does it in the main process"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps"""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """the number format of the network; auto is float16 on CUDA and float32 elsewhere"""
    shard: str = ""
    """I/N: compute only part I of N (a shard), on one of N machines; under
    torchrun, processes take parts by themselves"""
    merge: bool = False
    """join the shards of the data folder in features.h5, whose rows stay in their files, and
    compute nothing"""
    copy: bool = False
    """with --merge: copy the rows of the shards into features.h5"""
    strict: bool = False
    """stop at the first picture that cannot be read, instead of recording it as bad"""
