"""Weight files: read without running code, rename from other systems, and load strictly.

In: a .safetensors file, or a .pth, .pt or .bin file with tensors and plain values only.
Out: tensors under this project's names (torchvision's and timm's), and the header's values.
Nothing is unpickled: .pth files go through torch.load(weights_only=True).
"""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from eval.files import first_line

Tensors = dict[str, Tensor]

WRAPPERS = ("state_dict", "model", "model_state_dict", "model_ema")


def read(path: str | Path) -> tuple[Tensors, dict]:
    """Tensors by name, and the header's values ({} for .pth).

    Raises FileNotFoundError, or ValueError for a file in neither format or with more than tensors
    and plain values in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt", ".bin"):
        return _unwrap(_read_torch(path), path), {}
    raise ValueError(f"{path}: weights are read from .safetensors, .pth, .pt or .bin")


def _read_safetensors(path: Path) -> tuple[Tensors, dict]:
    try:
        with safe_open(path, framework="pt") as file:
            header = {key: _parse(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None


def _parse(text: str) -> object:
    """A header value as JSON, or as text where another program wrote it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path}: not a file of tensors that can be read without running code from it "
            f"({first_line(error)}); save its state dict as .safetensors where you trust it"
        ) from None


def _unwrap(value: object, path: Path) -> Tensors:
    """The state dict of a checkpoint, without DataParallel's prefix `module.`."""
    for key in WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping) or not all(isinstance(x, Tensor) for x in value.values()):
        raise ValueError(f"{path}: has no state dict (a mapping of names to tensors)")
    return {name.removeprefix("module."): tensor for name, tensor in value.items()}


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors under any known system's names strictly; `source` is named in errors.

    num_batches_tracked may be missing (files older than PyTorch 0.4.1). Raises ValueError with the
    keys that are missing, unexpected, or of another shape.
    """
    tensors = require_fit(network, tensors, source)
    network.load_state_dict({**network.state_dict(), **tensors}, strict=True)


def require_fit(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> Tensors:
    """The tensors under our names; ValueError if names or shapes are not those of the network."""
    tensors = rename_tensors(tensors)
    wanted = network.state_dict()
    missing = [k for k in wanted if k not in tensors and not k.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in wanted]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    defects = [f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in lists.items() if keys]
    if defects:
        raise ValueError(f"{source} does not fit this network; " + "; ".join(defects))
    return tensors


def encoder_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """The encoder's tensors of a captioner's model file, in float32."""
    return {
        key.removeprefix("encoder."): tensor.float() if tensor.dtype == torch.float16 else tensor
        for key, tensor in tensors.items()
        if key.startswith("encoder.")
    }


def _some(keys: list[str], limit: int = 4) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more


def rename_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """Rename Hugging Face's and Cadene's tensors to torchvision's and timm's names."""
    tensors = dict(tensors)
    if "resnet.embedder.embedder.convolution.weight" in tensors:
        return from_hugging_face(tensors)
    if "last_linear.weight" in tensors and "conv1.bias" in tensors:
        return from_fbresnet(tensors)
    if "last_linear.weight" in tensors:
        return from_cadene_inception(tensors)
    return tensors


def from_hugging_face(tensors: Tensors) -> Tensors:
    """Names of transformers' ResNetForImageClassification to torchvision's."""
    rules = [
        (r"resnet\.embedder\.embedder\.convolution\.", "conv1."),
        (r"resnet\.embedder\.embedder\.normalization\.", "bn1."),
        (r"classifier\.1\.", "fc."),
        (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", _stage),
        (r"(?<=\.)layer\.(\d+)\.(convolution|normalization)\.", _convolution),
        (r"(?<=\.)shortcut\.convolution\.", "downsample.0."),
        (r"(?<=\.)shortcut\.normalization\.", "downsample.1."),
    ]
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _stage(match: re.Match) -> str:
    return f"layer{int(match[1]) + 1}.{match[2]}."


def _convolution(match: re.Match) -> str:
    kind = "conv" if match[2] == "convolution" else "bn"
    return f"{kind}{int(match[1]) + 1}."


def from_fbresnet(tensors: Tensors) -> Tensors:
    """Names of Cadene's fbresnet (a port of fb.resnet.torch's .t7) to torchvision's.

    Its convolutions have biases, torchvision's do not. A bias before a BatchNorm is folded into the
    running mean, which the BatchNorm subtracts.
    """
    renamed = {re.sub(r"^last_linear\.", "fc.", k): tensor for k, tensor in tensors.items()}
    for name in [key for key in renamed if key.endswith(".bias")]:
        norm = _norm_of(name.removesuffix(".bias"))
        if norm is not None:
            mean = f"{norm}.running_mean"
            renamed[mean] = renamed[mean] - renamed.pop(name)
    return renamed


def _norm_of(module: str) -> str | None:
    """The BatchNorm after a convolution: layer1.0.conv2 -> layer1.0.bn2."""
    if module.endswith("downsample.0"):
        return module.removesuffix("0") + "1"
    head, dot, last = module.rpartition(".")
    return head + dot + "bn" + last[4:] if last.startswith("conv") else None


def from_cadene_inception(tensors: Tensors) -> Tensors:
    """Names of Cadene's inceptionresnetv2 to timm's; drops the background class, row 0."""
    renamed = {re.sub(r"^last_linear\.", "classif.", k): tensor for k, tensor in tensors.items()}
    for name in ("classif.weight", "classif.bias"):
        if len(renamed[name]) == 1001:
            renamed[name] = renamed[name][1:]
    return renamed
