"""The folder of a run: which one is the latest, and the encoder that its features came from."""

import os
from pathlib import Path

from torch import Tensor

from prepro import encoders
from prepro.feature_file import FeatureFile

LATEST = "latest"


def name_latest(run: Path) -> None:
    """Let runs/latest, a link, name this run."""
    link = run.resolve().parent / LATEST
    if link.is_symlink() or not link.exists():
        fresh = link.with_name(f".{LATEST}.{os.getpid()}")
        fresh.symlink_to(run.resolve().name, target_is_directory=True)
        os.replace(fresh, link)


def encoder_of(folder: Path, features: FeatureFile) -> tuple[dict, dict[str, Tensor]]:
    """What a run must keep of the encoder: its header, and its weights unless they are public.

    ValueError when encoder.safetensors is not what features.h5 was made with.
    """
    about = features.provenance
    facts = {"weights": about.weights, "sha256": about.weights_sha256}
    path = folder / "encoder.safetensors"
    if not path.is_file():
        return facts | {"encoder": about.encoder, "public": True}, {}
    encoder = encoders.build(about.encoder, str(path))
    if encoder.sha256 != about.weights_sha256:
        raise ValueError(f"{path}: not the weights that {features.path} was made with")
    return encoder.header() | facts | {"public": False}, encoder.network.state_dict()
