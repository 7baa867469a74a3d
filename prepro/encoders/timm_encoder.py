"""Any network of timm as an encoder, with timm's preprocessing; needs the extra `timm`.

In: "timm:NAME", such as timm:convnext_tiny.in12k_ft_in1k. Out: an Encoder whose last feature map is
(B, D, h, w). The patch tokens of vision transformers are arranged in their grid.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from prepro.encoders.encoder import Encoder
from prepro.encoders.pretrained import torchvision
from prepro.encoders.weights import load_weights
from prepro.transform import Transform


class TimmNetwork(nn.Module):
    """A timm model with the interface of prepro.encoders.spec, but for cell_positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.dim = model, model.num_features
        name = model.pretrained_cfg["classifier"]
        self.classifier = f"model.{name if isinstance(name, str) else name[0]}"

    def features(self, x: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to the last feature map (B, D, h, w)."""
        maps = self.model.forward_intermediates(
            x, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def stages(self) -> list[nn.Module]:
        """The parts of the model before its classifier, with the members of each list apart."""
        head = self.classifier.split(".")[1]
        parts: list[nn.Module] = []
        for name, part in self.model.named_children():
            if name != head:
                lists = isinstance(part, nn.Sequential | nn.ModuleList)
                parts += part.children() if lists else [part]
        return [part for part in parts if any(True for _ in part.parameters())]


def create(name: str, pretrained: bool = False, classes: int | None = None) -> TimmNetwork:
    """The network of "timm:NAME", initialised from torch's global generator or downloaded.

    Raises ValueError when timm is not installed or does not know the name.
    """
    torchvision()
    try:
        import timm
    except ImportError:
        raise ValueError(f"{name} needs timm: pip install 'resnet-caption[timm]'") from None
    model = name.removeprefix("timm:")
    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('.')[0][:8]}*")[:3]
        raise ValueError(f"timm has no {model!r}; nearest: {', '.join(near) or 'none'}")
    options = {} if classes is None else {"num_classes": classes}
    return TimmNetwork(timm.create_model(model, pretrained=pretrained, **options))


def build_timm(name: str, weights: str = "none", seed: int = 0) -> Encoder:
    """weights: "none", initialised from `seed` alone, or "default", which timm downloads."""
    if weights not in ("none", "default"):
        raise ValueError(
            f"{name} has no published weights {weights!r}: give none, default or a file"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create(name, pretrained=weights == "default").eval()
    published = weights == "default"
    return Encoder(name, network, _transform_of(network), weights, published)


def from_tensors(name: str, tensors: Mapping[str, Tensor], path: Path) -> Encoder:
    """The encoder with the tensors of a file, which have timm's names. ValueError if unfit."""
    network = build_timm(name).network
    load_weights(network.model, tensors, str(path))
    return Encoder(name, network, _transform_of(network), path.name)


def _transform_of(network: TimmNetwork) -> Transform:
    from timm.data import resolve_data_config

    return timm_transform(resolve_data_config(model=network.model))


def timm_transform(config: dict) -> Transform:
    """timm's evaluation transform as a Transform; timm calls the mode "square" squash."""
    crop = config["input_size"][-1]
    return Transform(
        mode="square" if config.get("crop_mode") == "squash" else "short",
        resize=math.floor(crop / config["crop_pct"]),
        crop=crop,
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
