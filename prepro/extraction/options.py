"""The flags of prepro.features; free of torch, so that --help answers at once."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """Extract the features of a data folder's pictures into features.h5.

    Example: python -m prepro.features --data data/coco --encoder resnet101 --weights default
    """

    data: Path = Path("data/scenes")
    """the data folder that prepro.labels made"""
    encoder: str = "resnet101"
    """name of the network; python -m prepro.encoders lists them"""
    weights: str = "default"
    """default (torchvision's best), a torchvision weight name, a file, or none (random)"""
    regions: Literal[0, 7, 14] = 7
    """side of the grid of region features; 0 stores the pooled vector alone"""
    mode: Literal["default", "short", "square", "full"] = "default"
    """short side resized and cropped, squashed to a square and cropped, or full: no crop at all;
    default is what the weights were made for"""
    resize: int | None = None
    """the side to resize to, in pixels; with full, the longest side (0: never shrink)"""
    crop: int | None = None
    """side of the crop, in pixels"""
    batch_size: int = 16
    """pictures a batch; at full resolution, as many pixels as so many crops of 224"""
    workers: int = max(1, (os.cpu_count() or 2) // 2)
    """processes that decode and resize"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """that the network computes in; auto is float16 on CUDA and float32 elsewhere"""
    shard: str = ""
    """I/N: only part I of N, for one of N machines; torchrun's rank where it is set"""
    merge: bool = False
    """join the shards of the data folder into features.h5"""
    strict: bool = False
    """stop at the first picture that cannot be read, instead of recording it as bad"""
