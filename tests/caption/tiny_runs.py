"""A run and its data folder, made in a second: scenes, an untrained encoder, untrained decoders."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from caption import models
from caption.captioner import Captioner
from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.decoding.decode import DecodeOptions
from caption.models import Shape
from caption.pretrained.model_format import write_model
from caption.training.encoder_payload import encoder_payload
from prepro import features, labels, scenes
from prepro.runtime.metrics_log import append_row


@dataclass(frozen=True)
class Tiny:
    data: Path
    runs: dict[str, Path]
    """by decoder"""

    def captioner(self, decoder: str = "topdown") -> Captioner:
        return Captioner.load(self.runs[decoder] / "model.safetensors")


def make(folder: Path, decoders: tuple[str, ...] = tuple(models.DECODERS)) -> Tiny:
    """Six test pictures of scenes; a run of each decoder, with two epochs in metrics.jsonl."""
    data = folder / "data"
    scenes.main(scenes.Options(data, train=8, val=2, test=6))
    labels.main(labels.Options((data / "annotations.json",), data, data, min_count=0))
    features.main(features.Options(data, "resnet10-w8", "none", workers=0, device="cpu"))
    opened = DataFolder.open(data)
    header, tensors = encoder_payload(data, opened.features)
    runs = {}
    for seed, name in enumerate(decoders):
        torch.manual_seed(seed)
        runs[name] = folder / "runs" / name
        words = opened.labels.vocabulary
        shape = Shape(words.classes, opened.features.provenance.dim, 16, 16, heads=2, regions=49)
        decoder = models.build(name, shape).eval()
        _decide(decoder)
        config = json.loads(TrainConfig(data=data, decoder=name, hidden=16, embedding=16).to_json())
        about = {"config": config, "data": "", "validation": {"CIDEr-D": 0.5, "epoch": 1}}
        decoding = DecodeOptions(beam=2, max_length=8, block_repeats=True)
        regions = 7 if decoder.needs_regions else 0
        path = runs[name] / "model.safetensors"
        write_model(path, decoder, words.words, header, tensors, regions, decoding, about)
        for epoch in (1, 2):
            append_row(runs[name], {"step": epoch, "epoch": epoch, "loss": 3.0 / epoch})
            row = {"step": epoch, "epoch": epoch, "val_loss": 3.1 / epoch, "CIDEr-D": 0.1 * epoch}
            append_row(runs[name], row)
    return Tiny(data, runs)


def _decide(decoder: torch.nn.Module) -> None:
    """Untrained weights, but far enough from zero that words and attention differ."""
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4)
            elif "classify" in name:
                weight[0] = -2  # the end comes seldom
