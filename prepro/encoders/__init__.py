"""Encoders by name: a network, the transform of its weights, and one file that holds both.

In: a name from the table (`python -m prepro.encoders` lists it) and weights: "none", "default", one
of torchvision's names, or a file. Out: an Encoder.
torch is imported inside the functions, so that a command's --help answers at once.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.files import whole_file
from prepro.encoders.registry import TABLE, base, construct, find
from prepro.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "TABLE",
    "Encoder",
    "create_encoder",
    "create_network",
    "from_state_dict",
    "load",
    "reset_classifier",
    "save",
]

FILES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Encoder:
    """A network with what is needed to use it, and to say later what it was.

    network(x) is logits; network.features(x) the last map (B, dim, h, w) of x (B, 3, H, W).
    """

    name: str
    network: "nn.Module"
    transform: Transform
    weights: str = "none"
    """What the weights came from: "none", one of torchvision's names, or a file's name."""
    published: bool = False
    """Whether they can be had again by name, so that a run need not carry them."""
    classes: tuple[str, ...] = ()
    """Names of the logits, where they are known."""

    @property
    def dim(self) -> int:
        return self.network.dim

    @property
    def sha256(self) -> str:
        """Of the state dict as it is now: names, types, shapes and bytes, in the keys' order."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            tensor = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(_bytes()).numpy())
        return digest.hexdigest()

    def metadata(self) -> dict:
        """What restore needs besides the tensors: plain JSON values."""
        return {
            "encoder": self.name,
            "outputs": self.network.get_submodule(self.network.classifier).out_features,
            "transform": self.transform.to_dict(),
            "classes": list(self.classes),
        }


def create_encoder(name: str, weights: str = "none", seed: int = 0) -> Encoder:
    """An encoder in evaluation mode, on the CPU.

    name: of the table, or "timm:NAME" for any of timm's networks.
    weights: "none" (initialised from `seed` alone), "default" or one of torchvision's names, or a
    file: the one that save writes brings its own transform and classes. Raises ValueError for an
    unknown name or weights that do not fit, FileNotFoundError.
    """
    if name.startswith("timm:"):
        from prepro.encoders.timm_encoder import build_timm

        return build_timm(name, weights, seed)
    if weights == "none":
        return Encoder(name, _initialised(name, seed), find(name).transform)
    if weights.endswith(FILES) or os.sep in weights:
        return _from_file(name, Path(weights))
    return _published(name, weights)


def create_network(name: str, **options: object) -> "nn.Module":
    """The classification network alone: create_network("resnet50", shortcut="C", classes=10)."""
    return construct(find(name), **options)


def load(path: str | os.PathLike) -> Encoder:
    """The encoder of a file that save wrote: its name is in it."""
    from prepro.encoders.weights import read

    tensors, header = read(path)
    if "encoder" not in header:
        raise ValueError(f"{path} does not say which encoder it is of: give the encoder's name too")
    return from_state_dict(header, tensors, Path(path).name)


def from_state_dict(
    header: Mapping, tensors: "Mapping[str, Tensor]", source: str = "weights"
) -> Encoder:
    """The encoder of a header (Encoder.metadata) and tensors under its names."""
    from prepro.encoders.weights import fit

    name = header["encoder"]
    network = _initialised(name, seed=0, classes=header["outputs"])
    fit(network, tensors, source)
    transform, classes = Transform.from_dict(header["transform"]), tuple(header["classes"])
    return Encoder(name, network, transform, source, classes=classes)


def save(encoder: Encoder, path: str | os.PathLike, extra: Mapping = {}) -> None:
    """Write one .safetensors: weights, name, transform, classes and `extra` (JSON values)."""
    from safetensors.torch import save_file

    header = {key: json.dumps(value) for key, value in {**encoder.metadata(), **extra}.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in encoder.network.state_dict().items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, header)


def reset_classifier(encoder: Encoder, classes: Sequence[str], seed: int = 0) -> Encoder:
    """The encoder for these classes: with a new classifier, unless it knows just them already."""
    import torch

    classes, network = tuple(classes), encoder.network
    old = network.get_submodule(network.classifier)
    if encoder.classes == classes and old.out_features == len(classes):
        return encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = torch.nn.Linear(old.in_features, len(classes))
    torch.nn.init.zeros_(new.bias)
    network.set_submodule(network.classifier, new)
    return replace(encoder, classes=classes, published=False)


def _initialised(name: str, seed: int, **options: object) -> "nn.Module":
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith("timm:"):
            from prepro.encoders.timm_encoder import create

            return create(name, **options).eval()
        return construct(find(name), **options).eval()


def _from_file(name: str, path: Path) -> Encoder:
    from prepro.encoders.weights import fit, ours, read

    tensors, header = read(path)
    if "encoder" in header:
        if header["encoder"] != name:
            raise ValueError(f"{path} holds {header['encoder']}, not {name}")
        return replace(from_state_dict(header, tensors, str(path)), weights=path.name)
    network = _initialised(name, seed=0, **_outputs(ours(tensors)))
    fit(network, tensors, str(path))
    return Encoder(name, network, find(name).transform, path.name)


def _published(name: str, weights: str) -> Encoder:
    from prepro.encoders import pretrained
    from prepro.encoders.weights import fit

    entry = find(name)
    if not entry.published:
        raise ValueError(f"{name} has no published weights {weights!r}: none, or a file")
    row = pretrained.choose(base(name), weights, entry.transform)
    network = _initialised(name, seed=0)
    fit(network, pretrained.download(row), row.name)
    return Encoder(name, network, row.transform, row.name, published=True, classes=row.classes)


def _outputs(tensors: "Mapping[str, Tensor]") -> dict:
    """How many classes a bare state dict tells apart; nothing where it has no classifier."""
    rows = [len(t) for name, t in tensors.items() if name in ("fc.weight", "classif.weight")]
    return {"classes": rows[0]} if rows else {}


def _bytes():
    import torch

    return torch.uint8
