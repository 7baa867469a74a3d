"""Write one file that carries a whole captioner: decoder, encoder, vocabulary and defaults.

    python -m caption.export --run runs/default --out dog.safetensors --halves

In: a run. Out: a model file that needs neither a download nor the data: give it to a colleague, who
types `python -m caption.sample --run dog.safetensors photo.jpg`. The model.safetensors of a run
names published encoder weights instead of storing them; here they are stored. The encoder's
classifier, which captions do not use, is left out.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from caption.decoding.flags import DecodeFlags, apply_flags
from eval import command


@dataclass(frozen=True)
class Options:
    """Write one file that carries a whole captioner.

    Example: python -m caption.export --run runs/default --out captioner.safetensors
    """

    out: Path
    """the file to write, .safetensors"""
    run: Path | None = None
    """a run's folder, a model.safetensors or the name of a model (default: runs/latest)"""
    halves: bool = False
    """store weights as float16: half the size; they are float32 again when they are read"""
    trained_on: str = ""
    """a phrase on the training data, which every command shows (default: the data folder's name)"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding options that the file's users get by default. The default is that of the run."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out {self.out}: give a name that ends in .safetensors")


def main(options: Options) -> None:
    from caption.captioner import Captioner
    from caption.pretrained.model_format import write_model
    from prepro.encoders import reset_classifier

    captioner = Captioner.load(options.run)
    encoder = reset_classifier(captioner.encoder, ["unused"])
    decoder = captioner.decoder
    if options.halves:
        _round(encoder.network)
        _round(decoder)
    about = {
        **encoder.metadata(), "weights": captioner.encoder_info["weights"],
        "sha256": encoder.sha256, "public": False,
    }  # fmt: skip
    run = dict(captioner.run)
    if options.trained_on:
        run["trained_on"] = options.trained_on
    decoding = apply_flags(options.decode, captioner.decoding)
    write_model(
        options.out, decoder, captioner.vocabulary.words, about, encoder.network.state_dict(),
        captioner.regions, decoding, run, options.halves,
    )  # fmt: skip
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


def _round(network) -> None:
    """Round the weights as the file stores them, so that the encoder's hash is that of the file."""
    from caption.pretrained.model_format import as_half

    for tensor in network.state_dict().values():
        tensor.copy_(as_half(tensor))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
