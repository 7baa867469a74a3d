"""Published weights through torchvision, and the shim that lets it be imported everywhere.

In: the name of a network and of weights. Out: a state dict and the transform that belongs to it.
The only file that imports torchvision. Weights come from its enums, by name, with their hash
checked; nothing is downloaded unless weights were asked for by name.
"""

import importlib.util
import pathlib
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from prepro.transform import Transform

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

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


def weights_by_name(network: str, weights: str) -> "WeightsEnum":
    """torchvision's enum for "default", "IMAGENET1K_V2" or "ResNet50_Weights.IMAGENET1K_V2"."""
    enum = torchvision().models.get_model_weights(network)
    name = "DEFAULT" if weights == "default" else weights.rpartition(".")[2]
    if name not in enum.__members__ or weights.rpartition(".")[0] not in ("", enum.__name__):
        known = ", ".join(enum.__members__)
        raise ValueError(
            f"{network} has no weights {weights!r}: default, none, a file, or one of {known}"
        )
    return enum[name]


def transform_of(weights: "WeightsEnum") -> Transform:
    """The transform that the weights were evaluated with, from torchvision's own record of it."""
    preset = weights.transforms()
    return Transform(
        mode="short",
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def download(weights: "WeightsEnum") -> dict[str, torch.Tensor]:
    """The state dict, from torch.hub's cache or the network; its hash is checked."""
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        raise ValueError(
            f"{weights}: cannot be downloaded ({error}); on a machine with a network fetch "
            f"{weights.url} and give the file as weights"
        ) from None
