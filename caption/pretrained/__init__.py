"""The trained models that come with the package, and the files that --run names.

    model_file("runs/default")   runs/default/model.safetensors
    model_file("flickr8k")       the model of that name in this folder

A model is NAME.safetensors; MODEL_CARD.md says how it was trained and what it can do.
"""

from pathlib import Path

from prepro.runtime.run_folder import LATEST

MODELS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.safetensors"))}
"""the files of the models, by name"""
DEFAULT = "flickr8k"
TERMS = {
    "flickr8k": "research and teaching: it learnt from the photographs and captions of Flickr8k; "
    "the encoder's ImageNet weights are Apache 2.0"
}
"""the terms of the weights of each of MODELS"""


def model_file(run: str | Path | None = None) -> Path:
    """The file of a model: of a run's folder, a file itself, or the name of one that comes along.

    Without `run`, that of runs/latest, or of flickr8k if there is no such run. The file of a folder
    may be missing.
    """
    if run is None:
        latest = Path("runs") / LATEST
        run = latest if latest.exists() or DEFAULT not in MODELS else DEFAULT
    path = Path(run)
    if not path.exists() and str(run) in MODELS:
        return MODELS[str(run)]
    return path if path.is_file() else path / "model.safetensors"


def model_name(path: Path) -> str:
    """The name for messages and pages: a run's folder, a file, or the name of one of MODELS."""
    if path in MODELS.values():
        return path.stem
    return str(path.parent) if path.name == "model.safetensors" else str(path)
