"""Average the weights of runs: one model, as fast as each.

    python -m caption.average --run runs/a --run runs/b --out average.safetensors

In: two or more runs or model files, alike but for their weights. Out: a model file whose weights
are their means, encoder included, to be used and to be trained further (`caption.train --start`).
If all were fine-tuned from the same model, with several seeds, say, it is often better than each
(Wortsman et al. 2022, model soups). The mean of models that began from different random weights is
useless. With --decoder, encoders alone are averaged.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command

if TYPE_CHECKING:
    from torch import Tensor

    from caption.captioner import Captioner


SIZES = (
    "classes", "features", "embedding", "hidden", "layers", "heads", "attention", "decoder_layers",
    "feed_forward", "norm_eps", "norm", "region_projection", "sentinel_layers",
)  # fmt: skip
"""of caption.models.Shape; the rest is dropout and how weights begin"""


@dataclass(frozen=True)
class Options:
    """Average the weights of runs that were fine-tuned from the same model.

    Example: python -m caption.average --run runs/a --run runs/b --out average.safetensors
    """

    run: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """runs' folders, model files or names of models; give two or more"""
    out: Path
    """a file that ends in .safetensors"""
    decoder: Path | None = None
    """average the encoders only, and take the decoder and the decoding options of this run
    (default: the mean, and the options of the first run)"""

    def __post_init__(self) -> None:
        from caption.pretrained import model_file

        files = [model_file(run).resolve() for run in self.run]
        if len(files) < 2:
            raise ValueError("--run: give two or more")
        for run, file in zip(self.run, files, strict=True):
            if files.count(file) > 1:
                raise ValueError(f"--run {run}: this run is given twice")
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out {self.out}: give a name.safetensors")
        if self.out.resolve() in (*files, model_file(self.decoder or self.run[0]).resolve()):
            raise ValueError(f"--out {self.out}: this is one of the models; give another name")


def main(options: Options) -> None:
    from caption.captioner import Captioner
    from caption.pretrained.model_format import write_model

    captioners = [Captioner.load(run) for run in options.run]
    first = Captioner.load(options.decoder) if options.decoder else captioners[0]
    for other in captioners:
        _require_alike(first, other)
    _warn_of_random_starts(captioners)
    about, encoder = _mean_encoder(captioners)
    if not options.decoder:
        states = {str(one.path): one.decoder.state_dict() for one in captioners}
        first.decoder.load_state_dict(mean(states))
    run = {key: value for key, value in first.run.items() if key != "validation"}
    run["averaged"] = [str(captioner.path) for captioner in captioners]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_model(
        options.out, first.decoder, first.vocabulary.words, about, encoder, first.regions,
        first.decoding, run,
    )  # fmt: skip
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: the mean of {len(captioners)} models, {size:.1f} MB")


def mean(states: Mapping[str, Mapping[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """The mean of each tensor of state dicts with equal names and shapes; keys tell their source.

    The sum is of float64; integers, which count steps, are the first's. ValueError for a weight
    that is infinite or no number.
    """
    for source, state in states.items():
        for name, tensor in state.items():
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{source}: {name} is not finite; leave this run out")
    first, *others = states.values()
    return {
        name: (tensor.double() + sum(other[name].double() for other in others))
        .div(len(states))
        .to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def _mean_encoder(captioners: Sequence["Captioner"]) -> tuple[dict, dict[str, "Tensor"]]:
    """The encoder's values for write_model, and its weights.

    One that all runs share stays what it is: published, or that of another system.
    """
    from prepro.encoders import reset_classifier

    about = captioners[0].encoder_info
    if len({_encoder_hash(captioner) for captioner in captioners}) == 1:
        stored = captioners[0].encoder.network.state_dict() if _is_stored(about) else {}
        return about, stored
    # classifiers, which captions do not use, may be of several sizes
    encoders = [reset_classifier(captioner.encoder, ["unused"]) for captioner in captioners]
    states = [encoder.network.state_dict() for encoder in encoders]
    paths = [str(captioner.path) for captioner in captioners]
    encoders[0].network.load_state_dict(mean(dict(zip(paths, states, strict=True))))
    about = {
        **encoders[0].metadata(), "weights": "average", "sha256": encoders[0].sha256,
        "public": False,
    }  # fmt: skip
    return about, encoders[0].network.state_dict()


def _encoder_hash(captioner: "Captioner") -> str:
    is_stored = _is_stored(captioner.encoder_info)
    return captioner.encoder.sha256 if is_stored else captioner.encoder_info["sha256"]


def _is_stored(about: Mapping) -> bool:
    """Whether the model file has the encoder's weights."""
    return bool(about["sha256"]) and not about["public"]


def _require_alike(first: "Captioner", other: "Captioner") -> None:
    """ValueError for captioners that differ in more than weights and dropout."""
    one, two = (
        {
            "decoder": type(captioner.decoder).__name__,
            **{k: v for k, v in asdict(captioner.decoder.shape).items() if k in SIZES},
            "vocabulary": captioner.vocabulary.words,
            **{k: captioner.encoder_info.get(k) for k in ("encoder", "transform")},
            "regions": captioner.regions,
        }
        for captioner in (first, other)
    )
    for name, value in one.items():
        if value != two[name]:
            raise ValueError(
                f"{first.path} and {other.path} differ in their {name}; only models that are alike "
                "but for their weights can be averaged"
            )


def _warn_of_random_starts(captioners: Sequence["Captioner"]) -> None:
    """A run without --start began from random weights of its own."""
    fresh = [one.path for one in captioners if not one.run.get("config", {}).get("start")]
    if len(fresh) > 1:
        print(
            f"caption.average: {fresh[0]} and {fresh[1]} began from random weights; if these were "
            "not the same, their mean is useless",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
