"""Any network of timm as an encoder, with timm's preprocessing; needs the extra `timm`.

In: "timm:NAME", such as timm:convnext_tiny.in12k_ft_in1k. Out: an Encoder whose last feature map
(B, D, h, w) is what the model's forward_features returns; the patch tokens of vision transformers
are arranged in their grid.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from prepro.encoders.encoder import Encoder
from prepro.encoders.pretrained import torchvision
from prepro.encoders.timm_layout import Layout, find_layout, unused_weights
from prepro.encoders.timm_stages import Stage, find_stages
from prepro.encoders.weights import load_weights
from prepro.transform import Transform


class TimmNetwork(nn.Module):
    """A timm model with the interface of prepro.encoders.spec, but for cell_positions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        name = model.pretrained_cfg.get("classifier")
        name = name if isinstance(name, str) or name is None else name[0]
        self.classifier = f"model.{name}" if name else ""
        self.outputs = int(getattr(model, "num_classes", 0))
        self._layout: Layout | None = None

    @property
    def layout(self) -> Layout:
        """How the last map lies in memory. ValueError, in one line, for a model without one."""
        if self._layout is None:
            try:
                self._layout = find_layout(self.model)
            except ValueError as error:
                raise ValueError(f"timm:{self.name} is no encoder: {error}") from None
        return self._layout

    def require_map(self) -> None:
        """ValueError unless the model has a map; torch.fx can trace `features` afterwards."""
        _ = self.layout

    @property
    def name(self) -> str:
        return str(self.model.pretrained_cfg.get("architecture", type(self.model).__name__))

    @property
    def dim(self) -> int:
        return self.layout.dim

    def features(self, x: Tensor) -> Tensor:
        """Float images (B, 3, H, W) to the last feature map (B, D, h, w).

        ValueError for images of a size that the model does not take.
        """
        if torch.is_inference_mode_enabled():  # ConViT keeps tensors that training needs again
            with torch.inference_mode(False), torch.no_grad():
                return self.features(x.clone())
        try:
            found = self.model.forward_features(x)
        except AssertionError as error:  # a vision transformer of one input size
            raise ValueError(f"timm:{self.name}: {error}") from None
        return self.layout.as_map(found, x.shape[2], x.shape[3])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def stages(self) -> list[Stage]:
        """timm's coarse groups of the layers that make the map."""
        return find_stages(self.model, self._head())

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters behind the map, which captions do not train."""
        head = set(self._head())
        return [p for name, p in self.model.named_parameters() if name in head]

    def set_grad_checkpointing(self) -> None:
        """Recompute activations in backward, as timm does it for this model."""
        if not hasattr(self.model, "set_grad_checkpointing"):
            raise ValueError(f"timm:{self.name} cannot recompute activations (--save-memory)")
        self.model.set_grad_checkpointing(True)

    def _head(self) -> list[str]:
        try:
            return unused_weights(self.model)
        except Exception:  # operators without shapes or gradients on the meta device
            prefix = self.classifier.removeprefix("model.")
            names = [name for name, _ in self.model.named_parameters()]
            return [name for name in names if prefix and name.startswith(f"{prefix}.")]


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
