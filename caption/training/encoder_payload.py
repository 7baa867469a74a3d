"""The encoder behind stored features, and what a model file must contain of it.

In: a data folder and its features.h5. Out: the encoder itself, or its header and weights.
"""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from prepro import encoders
from prepro.encoders import Encoder
from prepro.storage.feature_file import FeatureFile
from prepro.transform import Transform


def data_encoder(folder: Path, features: FeatureFile) -> Encoder:
    """The encoder that features.h5 was made with, with the transform of that time.

    ValueError if neither encoder.safetensors nor published weights are what it was made with.
    """
    about = features.provenance
    path = folder / "encoder.safetensors"
    if path.is_file():
        encoder = encoders.create_encoder(about.encoder, str(path))
    if not path.is_file() or (encoder.sha256 != about.weights_sha256 and about.weights != "none"):
        encoder = encoders.create_encoder(about.encoder, about.weights)  # the file is an older one
    if encoder.sha256 != about.weights_sha256:
        raise ValueError(
            f"{path}: these are not the weights that {features.path} was made with; run "
            "prepro.features again"
        )
    if not features.transform:  # another system's features
        return encoder
    return replace(encoder, transform=Transform.from_dict(features.transform))


def encoder_payload(folder: Path, features: FeatureFile) -> tuple[dict, dict[str, Tensor]]:
    """The header of a frozen encoder, and its weights unless they can be downloaded by name."""
    about = features.provenance
    origin = {"weights": about.weights, "sha256": about.weights_sha256}
    if not (folder / "encoder.safetensors").is_file():
        header = {"encoder": about.encoder, "public": True, "transform": features.transform}
        return origin | header, {}
    encoder = data_encoder(folder, features)
    if encoder.published:
        header = {"encoder": about.encoder, "public": True, "transform": features.transform}
        return origin | header, {}
    return encoder.metadata() | origin | {"public": False}, encoder.network.state_dict()


def finetuned_encoder_payload(encoder: Encoder) -> tuple[dict, dict[str, Tensor]]:
    """The header and the weights of an encoder that this run has fine-tuned."""
    origin = {"weights": "fine-tuned", "sha256": encoder.sha256, "public": False}
    return encoder.metadata() | origin, encoder.network.state_dict()
