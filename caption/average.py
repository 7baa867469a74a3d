"""Average the weights of runs: one model, of the size and the speed of each.

    python -m caption.average --run runs/a --run runs/b --out average.safetensors

In: two or more runs or model files, alike but for their weights. Out: a model file whose weights
are their means, encoder included, to be used and to be trained further (`caption.train --start`).
It is often better than each (Wortsman et al. 2022, model soups), if all were fine-tuned from the
same model, with several seeds, say. Means of models that began from different random weights are
useless. With --decoder, encoders alone are averaged.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command

if TYPE_CHECKING:
    from torch import Tensor

    from caption.captioner import Captioner
    from caption.models import Shape


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
    """average the encoders only, and take the decoder of this run (default: the mean)"""

    def __post_init__(self) -> None:
        if len(self.run) < 2:
            raise ValueError("--run: give two or more")
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out {self.out}: give a name.safetensors")


def main(options: Options) -> None:
    from caption.captioner import Captioner
    from caption.export import write_file

    captioners = [Captioner.load(run) for run in options.run]
    decoder = Captioner.load(options.decoder) if options.decoder else None
    averaged = average(captioners, decoder)
    write_file(averaged, options.out, halves=False)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: the mean of {len(captioners)} models, {size:.1f} MB")


def average(captioners: Sequence["Captioner"], decoder: "Captioner | None" = None) -> "Captioner":
    """A captioner with the mean of all weights, or with the decoder of `decoder` as it is.

    Its vocabulary, its decoding options and its run are those of `decoder`, or of the first.
    Its weights are changed. ValueError for captioners that differ in more than weights.
    """
    first = decoder or captioners[0]
    for other in captioners:
        _require_alike(first, other)
    encoder = first.encoder
    networks = [captioner.encoder.network.state_dict() for captioner in captioners]
    encoder.network.load_state_dict(mean(networks))
    if not decoder:
        decoders = [captioner.decoder.state_dict() for captioner in captioners]
        first.decoder.load_state_dict(mean(decoders))
    run = {key: value for key, value in first.run.items() if key != "validation"}
    run["averaged"] = [str(captioner.path) for captioner in captioners]
    about = {**first.encoder_info, "weights": "average"}
    return replace(first, run=run, encoder_info=about, make_encoder=lambda: encoder)


def mean(states: Sequence[Mapping[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """The mean of each tensor, summed in float64; integers, which count steps, are the first's."""
    return {
        name: sum(state[name].double() for state in states).div(len(states)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[0].items()
    }


def _require_alike(first: "Captioner", other: "Captioner") -> None:
    pairs = {
        "decoder": (type(first.decoder).__name__, type(other.decoder).__name__),
        "sizes": (_sizes(first), _sizes(other)),
        "vocabulary": (first.vocabulary.words, other.vocabulary.words),
        "encoder": (first.encoder.name, other.encoder.name),
        "transform": (first.encoder.transform, other.encoder.transform),
        "regions": (first.regions, other.regions),
    }
    for what, (one, two) in pairs.items():
        if one != two:
            raise ValueError(
                f"{first.path} and {other.path} differ in their {what}; only weights of models "
                "that are alike can be averaged"
            )


def _sizes(captioner: "Captioner") -> "Shape":
    return replace(captioner.decoder.shape, dropout=0, position_std=0)  # these are no sizes


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
