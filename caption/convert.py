"""Convert a checkpoint of self-critical.pytorch or ImageCaptioning.pytorch into a run.

    python -m caption.convert --checkpoint model.pth --infos infos_x.pkl --out runs/x

In: a state dict (.pth) and the pickle with its options and vocabulary; nothing in them is run. Out:
a run's folder with model.safetensors and config.json, which every command takes as --run, and
caption.train as --start. With --encoder and --weights the file captions pictures too; without them
it captions stored features of that encoder.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command


@dataclass(frozen=True)
class Options:
    """Convert a checkpoint of self-critical.pytorch or ImageCaptioning.pytorch into a run.

    Example: python -m caption.convert --checkpoint model-best.pth --infos infos_x-best.pkl
    --out runs/x --encoder resnet101-1x1 --weights resnet101.pth
    """

    checkpoint: Path
    """the state dict: model.pth or model-best.pth"""
    infos: Path
    """the pickle beside it: infos_ID.pkl or infos_ID-best.pkl"""
    out: Path
    """folder of the run to write"""
    encoder: str = ""
    """the network that made the features; python -m prepro.encoders lists the names"""
    weights: str = "default"
    """the weights of --encoder: default (published), the name of published weights, or a file"""

    def __post_init__(self) -> None:
        if (self.out / "model.safetensors").exists():
            raise ValueError(f"--out {self.out}: holds a model already; choose another folder")


def main(options: Options) -> None:
    from caption.conversion.checkpoint import read_checkpoint
    from caption.conversion.run import write_run

    found = read_checkpoint(options.checkpoint, options.infos)
    path = write_run(found, options.out, options.encoder, options.weights, options.checkpoint)
    print(f"{path}: {found.name} as {found.decoder_name}, {len(found.words):,} words")
    for note in found.notes:
        print(f"caption.convert: {note}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
