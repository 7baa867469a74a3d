"""Published weights: torchvision's, and those that a family of encoders lists.

In: the name of weights. Out: a state dict and the transform that belongs to it.
This is the only file that imports torchvision's models. Weights are downloaded only when they are
asked for by name; a file whose SHA-256 does not begin with the hash in its name is refused.
"""

import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from prepro.transform import Transform

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

_declared = []  # keeps the Library alive: its operators vanish when it is garbage collected


def torchvision() -> ModuleType:
    """Import torchvision, even beside a torch that its compiled operators do not match.

    PyPI's torchvision links CUDA. Beside a CPU-only torch its library does not load, and without
    the two operators declared below `import torchvision` fails (pytorch/vision#8985). Networks,
    weights and transforms call neither operator. ValueError when torchvision is not installed.
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
    """Load torchvision's compiled operators; False where no library loads."""
    for library in folder.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


@dataclass(frozen=True)
class PublishedWeights:
    """Weights with a name, from a URL or from `load`, with their transform and classes."""

    name: str
    transform: Transform
    classes: tuple[str, ...] = ()
    """the class names of the logits, where they are known"""
    url: str = ""
    """a state dict, whose file name ends in the first 8 digits of its SHA-256"""
    load: Callable[[], dict[str, torch.Tensor]] | None = None
    """returns the state dict, when it does not come from a URL (say, from an installed package)"""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors by name. ValueError with the URL when it cannot be downloaded."""
        return self.load() if self.load else _download(self)


def torchvision_weights(network: str) -> list[PublishedWeights]:
    """All weights that torchvision publishes for a network, its default first."""
    enum = torchvision().models.get_model_weights(network)
    ordered = sorted(enum, key=lambda weights: weights is not enum["DEFAULT"])
    return [
        PublishedWeights(w.name, torchvision_transform(w), tuple(w.meta["categories"]), w.url)
        for w in ordered
    ]


def choose_weights(
    network: str, weights: str, rows: Sequence[PublishedWeights]
) -> PublishedWeights:
    """The row named "default" (the first), "IMAGENET1K_V2" or "ResNet50_Weights.IMAGENET1K_V2".

    Raises ValueError with all the names for an unknown one.
    """
    name = rows[0].name if weights == "default" else weights.rpartition(".")[2]
    for row in rows:
        if row.name == name:
            return row
    known = ", ".join(row.name for row in rows)
    raise ValueError(
        f"{network} has no weights {weights!r}: give default, none, a file, or {known}"
    )


def torchvision_transform(weights: "WeightsEnum") -> Transform:
    """The transform that torchvision evaluates these weights with."""
    preset = weights.transforms()
    return Transform(
        mode="short",
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _download(weights: PublishedWeights) -> dict[str, torch.Tensor]:
    """The state dict from torch.hub's cache or the network; torch.hub checks the hash."""
    try:
        return torch.hub.load_state_dict_from_url(
            weights.url, map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:
        raise ValueError(
            f"{weights.name}: cannot be downloaded ({error}); fetch {weights.url} on a machine "
            "with a network and give the file as weights"
        ) from None
