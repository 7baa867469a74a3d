"""Caption pictures with an exported captioner, without PyTorch.

    python -m caption.export --out captioner
    python -m caption.onnx photo.jpg --model captioner

In: pictures, and a folder that caption.export wrote. Out: a line a picture on stdout, the same as
that of caption.sample.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from caption.inference.image_paths import image_paths
from eval import command
from eval.files import printable


@dataclass(frozen=True)
class Options:
    """Caption pictures with an exported captioner, without PyTorch.

    Example: python -m caption.onnx photo.jpg --model captioner
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """files, folders, quoted patterns, or - to read file names from stdin"""
    model: Path
    """the folder that caption.export wrote"""
    beam: int | None = None
    """beam width; 1 is greedy decoding (default: the model's)"""
    n: int | None = None
    """captions of each picture (default: the model's)"""
    json: bool = False
    """print one JSON object a line, with log-probabilities"""
    threads: int = 0
    """threads of onnxruntime; 0: as many as it chooses"""


def main(options: Options) -> int:
    from caption.onnx.session import OnnxCaptioner
    from prepro.images import BadImage

    files = list(image_paths(options.images))
    if not files:
        raise ValueError("give a picture: python -m caption.onnx photo.jpg --model captioner")
    captioner = OnnxCaptioner.load(options.model, options.threads)
    print(f"model: {captioner.manifest.about['description']}", file=sys.stderr)
    flags = {"beam": options.beam, "n": options.n}
    decoding = {name: value for name, value in flags.items() if value is not None}
    bad = 0
    for name in files:
        try:
            found = captioner.captions(name, **decoding)
        except BadImage as error:
            print(f"caption.onnx: {printable(name)}: {error}", file=sys.stderr)
            bad += 1
            continue
        for caption in found:
            if options.json:
                values = {"file": name, "caption": caption.text, "log_prob": caption.log_prob}
                print(json.dumps(values, ensure_ascii=False), flush=True)
            else:
                label = f"{printable(name)}: " if len(files) > 1 else ""
                print(label + caption.text, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
