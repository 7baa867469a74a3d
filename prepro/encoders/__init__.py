"""Encoders by name: a network, the transform of its weights, and a file format for both.

In: a name from the table (`python -m prepro.encoders` prints it) and weights: "none", "default",
the name of published weights, or a file. Out: an Encoder.
torch is imported inside the functions, so that a command's --help is fast.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.files import whole_file
from prepro.encoders.encoder import SCHEMA, Encoder
from prepro.encoders.registry import encoder_table, find_spec
from prepro.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "TIMM",
    "Encoder",
    "create_encoder",
    "create_network",
    "encoder_table",
    "from_state_dict",
    "load",
    "reset_classifier",
    "save",
]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
TIMM = "timm:"  # what the names of timm's networks begin with


def create_encoder(name: str, weights: str = "none", seed: int = 0) -> Encoder:
    """Create an encoder in evaluation mode, on the CPU.

    name: a name from the table, or "timm:NAME" for any network of timm.
    weights: "none" (initialised from `seed` alone), "default", the name of published weights, or a
    file; a file that `save` wrote also sets the transform and the classes.
    Raises ValueError for an unknown name or weights that do not fit, FileNotFoundError.
    """
    if weights.endswith(SUFFIXES) or os.sep in weights:
        return _from_file(name, Path(weights))
    if name.startswith(TIMM):
        from prepro.encoders.timm_encoder import build_timm

        return build_timm(name, weights, seed)
    if weights == "none":
        return Encoder(name, _initialised_network(name, seed), find_spec(name).transform)
    return _published(name, weights)


def create_network(name: str, **options: object) -> "nn.Module":
    """The untrained nn.Module alone: create_network("resnet50", shortcut="C", classes=10).

    Raises ValueError for an unknown name or option.
    """
    return find_spec(name).create(**options)


def load(path: str | os.PathLike) -> Encoder:
    """Read an encoder from a file that `save` wrote. ValueError for another file."""
    from prepro.encoders.weights import read

    tensors, metadata = read(path)
    if "encoder" not in metadata:
        raise ValueError(f"{path} names no encoder: give an encoder's name and the file as weights")
    return from_state_dict(metadata, tensors, Path(path).name)


def from_state_dict(
    metadata: Mapping, tensors: "Mapping[str, Tensor]", source: str = "weights"
) -> Encoder:
    """The encoder of `metadata` (Encoder.metadata) and tensors; errors name `source`.

    Raises ValueError for tensors that do not fit.
    """
    from prepro.encoders.weights import load_weights, require_fit
    from prepro.runtime.meta_device import meta_device

    SCHEMA(dict(metadata), source)
    name, classes = metadata["encoder"], metadata["outputs"]
    with meta_device():  # no memory is taken for sizes that the tensors do not have
        require_fit(_network(name, classes=classes), tensors, source)
    network = _initialised_network(name, seed=0, classes=classes)
    load_weights(network, tensors, source)
    transform, classes = Transform.from_dict(metadata["transform"]), tuple(metadata["classes"])
    return Encoder(name, network, transform, source, classes=classes)


def save(encoder: Encoder, path: str | os.PathLike, extra: Mapping = {}) -> None:
    """Write a .safetensors file: the state dict, Encoder.metadata and `extra` (JSON values)."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    header = {key: json.dumps(value) for key, value in {**encoder.metadata(), **extra}.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in encoder.network.state_dict().items()}
    with whole_file(path) as partial:
        try:
            save_file(tensors, partial, header)
        except SafetensorError as error:  # a full disk, say
            raise OSError(f"{path}: cannot be written ({error})") from None


def reset_classifier(encoder: Encoder, classes: Sequence[str], seed: int = 0) -> Encoder:
    """Replace the classifier in place by a new one for `classes`; returns the new Encoder.

    An encoder that has exactly these classes is returned unchanged.
    """
    import torch

    classes, network = tuple(classes), encoder.network
    old = network.get_submodule(network.classifier) if network.classifier else None
    if not isinstance(old, torch.nn.Linear):
        raise ValueError(f"{encoder.name} has no linear classifier to train")
    if encoder.classes == classes and old.out_features == len(classes):
        return encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = torch.nn.Linear(old.in_features, len(classes))
    torch.nn.init.zeros_(new.bias)
    network.set_submodule(network.classifier, new)
    return replace(encoder, classes=classes, published=False)


def _initialised_network(name: str, seed: int, **options: object) -> "nn.Module":
    """The network in evaluation mode, initialised from `seed`; the global RNG stays unchanged."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _network(name, **options).eval()


def _network(name: str, **options: object) -> "nn.Module":
    if name.startswith(TIMM):
        from prepro.encoders.timm_encoder import create

        return create(name, **options)
    return find_spec(name).create(**options)


def _from_file(name: str, path: Path) -> Encoder:
    from prepro.encoders.weights import encoder_tensors, load_weights, read, rename_tensors

    tensors, metadata = read(path)
    if isinstance(metadata.get("encoder"), dict):  # the model file of a captioner
        metadata, tensors = metadata["encoder"], encoder_tensors(tensors)
        if not tensors:
            raise ValueError(
                f"{path} names its encoder's weights, {metadata['weights']}: give those"
            )
    if "encoder" in metadata:
        if metadata["encoder"] != name:
            raise ValueError(f"{path} holds {metadata['encoder']}, not {name}")
        return replace(from_state_dict(metadata, tensors, str(path)), weights=path.name)
    if name.startswith(TIMM):
        from prepro.encoders.timm_encoder import from_tensors

        return from_tensors(name, tensors, path)
    network = _initialised_network(name, seed=0, **_class_option(name, rename_tensors(tensors)))
    load_weights(network, tensors, str(path))
    return Encoder(name, network, find_spec(name).transform, path.name)


def _published(name: str, weights: str) -> Encoder:
    from prepro.encoders.pretrained import choose_weights
    from prepro.encoders.weights import load_weights

    spec = find_spec(name)
    if spec.published is None:
        raise ValueError(f"{name} has no published weights {weights!r}: give none, or a file")
    row = choose_weights(name, weights, spec.published())
    network = _initialised_network(name, seed=0)
    load_weights(network, row.state_dict(), row.name)
    return Encoder(name, network, row.transform, row.name, published=True, classes=row.classes)


def _class_option(name: str, tensors: "Mapping[str, Tensor]") -> dict:
    """The option `classes` from the rows of the classifier's weight; {} without a classifier."""
    from prepro.runtime.meta_device import meta_device

    with meta_device():
        weight = f"{find_spec(name).create().classifier}.weight"
    return {"classes": len(tensors[weight])} if weight in tensors else {}
