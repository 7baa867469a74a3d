"""Published weights through torchvision, and the shim that lets it be imported everywhere.

In: the name of a network and of weights. Out: a state dict and the transform that belongs to it.
The only file that imports torchvision's models. Nothing is downloaded unless weights were asked
for by name, and a file whose hash is not the one in its name is refused.
"""

import importlib.util
import pathlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from prepro.transform import Transform

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

TIMM_RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"
RELEASES = {  # what timm published before it moved to a hub of its own: the same tensors
    "inception_resnet_v2": {
        "TF_IN1K": f"{TIMM_RELEASE}/inception_resnet_v2-940b1cd6.pth",
        "TF_ENS_ADV_IN1K": f"{TIMM_RELEASE}/ens_adv_inception_resnet_v2-2592a550.pth",
    }
}

_declared = []  # a Library takes its operators with it when it is collected


def torchvision() -> ModuleType:
    """torchvision's package, importable beside a torch that its operators were not built for.

    PyPI's torchvision links CUDA: beside a CPU-only torch its library does not load, and without
    the two operators below the package does not import at all (pytorch/vision#8985). Networks,
    weights and transforms need neither operator.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        raise ValueError("torchvision is not installed: pip install torchvision")
    if not _declared and not _load_operators(pathlib.Path(spec.origin).parent):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
    import torchvision
    import torchvision.models

    return torchvision


def _load_operators(folder: pathlib.Path) -> bool:
    for library in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


@dataclass(frozen=True)
class Published:
    """Weights with a name: where they are, the transform and the classes that belong to them."""

    name: str
    url: str
    transform: Transform
    classes: tuple[str, ...] = ()


def published(network: str, transform: Transform) -> list[Published]:
    """All weights that are published for a network, the best first."""
    if network in RELEASES:
        rows = RELEASES[network].items()
        return [Published(name, url, transform) for name, url in rows]
    enum = torchvision().models.get_model_weights(network)
    ordered = sorted(enum, key=lambda weights: weights is not enum["DEFAULT"])
    return [Published(w.name, w.url, transform_of(w), tuple(w.meta["categories"])) for w in ordered]


def choose(network: str, weights: str, transform: Transform) -> Published:
    """By "default", "IMAGENET1K_V2" or "ResNet50_Weights.IMAGENET1K_V2"; ValueError names all."""
    rows = published(network, transform)
    name = rows[0].name if weights == "default" else weights.rpartition(".")[2]
    for row in rows:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in rows)
    raise ValueError(f"{network} has no weights {weights!r}: default, none, a file, or {known}")


def transform_of(weights: "WeightsEnum") -> Transform:
    """The transform that torchvision's weights were evaluated with, by its own record of it."""
    preset = weights.transforms()
    return Transform(
        mode="short",
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def download(weights: Published) -> dict[str, torch.Tensor]:
    """The state dict, from torch.hub's cache or the network; the hash in its name is checked."""
    try:
        return torch.hub.load_state_dict_from_url(
            weights.url, map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise ValueError(
            f"{weights.name}: cannot be downloaded ({error}); fetch {weights.url} on a machine "
            "with a network and give the file as weights"
        ) from None
