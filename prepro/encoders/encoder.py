"""An encoder: a network, the transform of its images, and where its weights come from.

prepro.encoders creates encoders, and reads and writes them.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval import schema
from prepro.transform import SCHEMA as TRANSFORM_SCHEMA
from prepro.transform import Transform

if TYPE_CHECKING:
    from torch import nn

SCHEMA = schema.mapping(
    {
        "encoder": schema.text(200, printable=True),
        "outputs": schema.integer(0, 10_000_000),
        "transform": TRANSFORM_SCHEMA,
        "classes": schema.items(schema.text(1000), 10_000_000),
    },
    more=True,
)
"""of Encoder.metadata's values"""


@dataclass(frozen=True)
class Encoder:
    """A network with its transform and the source of its weights.

    network(x) maps normalised images (B, 3, H, W) to logits; network.features(x) to the last
    feature map (B, dim, h, w).
    """

    name: str
    network: "nn.Module"
    transform: Transform
    weights: str = "none"
    """the source of the weights: "none", the name of published weights, or a file's name"""
    published: bool = False
    """whether create_encoder gets the weights by name, so that a run need not store them"""
    classes: tuple[str, ...] = ()
    """the class names of the logits, where they are known"""

    @property
    def dim(self) -> int:
        """Channels of the last feature map."""
        return self.network.dim

    @property
    def sha256(self) -> str:
        """The hash of the current state dict: names, dtypes, shapes and bytes, sorted by name."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            tensor = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def metadata(self) -> dict:
        """The JSON values that from_state_dict needs besides the tensors."""
        return {
            "encoder": self.name,
            "outputs": outputs(self.network),
            "transform": self.transform.to_dict(),
            "classes": list(self.classes),
        }


def outputs(network: "nn.Module") -> int:
    """The number of logits; 0 for a network of timm without a classifier."""
    if hasattr(network, "outputs"):
        return network.outputs
    return network.get_submodule(network.classifier).out_features
