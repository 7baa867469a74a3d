"""The folder of a run: who writes into it, which one is the latest, and the encoder that its
features came from."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from prepro import encoders
from prepro.encoders import Encoder
from prepro.feature_file import FeatureFile
from prepro.transform import Transform

LATEST = "latest"


def require_stopped(run: Path) -> None:
    """FileNotFoundError where there is nothing to resume.

    A run that was killed before its first checkpoint begins anew: from its seed, the same way.
    """
    if not (run / "config.json").is_file():
        raise FileNotFoundError(f"{run}/config.json: nothing to resume; leave out --resume")


@contextlib.contextmanager
def claim(run: Path) -> Iterator[None]:
    """Be the only training that writes into this folder, which is made where it is not there.

    RuntimeError where another one does. The system lets go of what a killed process held.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{run}: a file; --out names a folder") from None
    with open(run / ".lock", "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"{run}: another training writes there; wait, or name another --out"
            ) from None
        except OSError:  # a file system without locks: as good as alone
            pass
        yield


def make_way(run: Path) -> None:
    """Move a run that has this name already: nothing is overwritten by accident."""
    with claim(run):
        if not (run / "last.json").is_file():
            return
        number = next(n for n in range(1, 10_000) if not run.with_name(f"{run.name}.{n}").exists())
        run.rename(run.with_name(f"{run.name}.{number}"))
    print(f"{run}: moved the earlier run to {run}.{number}", file=sys.stderr)


def name_latest(run: Path) -> None:
    """Let runs/latest, a link, name this run."""
    link = run.resolve().parent / LATEST
    if link.is_symlink() or not link.exists():
        fresh = link.with_name(f".{LATEST}.{os.getpid()}")
        fresh.symlink_to(run.resolve().name, target_is_directory=True)
        os.replace(fresh, link)


def encoder_of(folder: Path, features: FeatureFile) -> Encoder:
    """The encoder that features.h5 was made with, reading pictures as it did then.

    ValueError when encoder.safetensors is not what features.h5 was made with.
    """
    about = features.provenance
    path = folder / "encoder.safetensors"
    encoder = encoders.build(about.encoder, str(path) if path.is_file() else about.weights)
    if encoder.sha256 != about.weights_sha256:
        raise ValueError(f"{path}: not the weights that {features.path} was made with")
    if not features.transform:  # another system's features
        return encoder
    return replace(encoder, transform=Transform.from_dict(features.transform))


def kept_of(folder: Path, features: FeatureFile) -> tuple[dict, dict[str, Tensor]]:
    """What a run must keep of a frozen encoder: header, and weights unless they are public."""
    about = features.provenance
    facts = {"weights": about.weights, "sha256": about.weights_sha256}
    if not (folder / "encoder.safetensors").is_file():
        known = {"encoder": about.encoder, "public": True, "transform": features.transform}
        return facts | known, {}
    encoder = encoder_of(folder, features)
    return encoder.header() | facts | {"public": False}, encoder.network.state_dict()


def kept_of_trained(encoder: Encoder) -> tuple[dict, dict[str, Tensor]]:
    """The same of an encoder that this run has trained."""
    facts = {"weights": "fine-tuned", "sha256": encoder.sha256, "public": False}
    return encoder.header() | facts, encoder.network.state_dict()
