"""Write a whole captioner for others: one file for this project, or ONNX graphs for onnxruntime.

    python -m caption.export --run runs/default --out dog.safetensors --halves
    python -m caption.export --run runs/default --out dog
    python -m caption.export --run runs/default --out dog --web

In: a run. Out: a model file that needs neither a download nor the data: give it to a colleague, who
types `python -m caption.sample --run dog.safetensors photo.jpg`. The model.safetensors of a run
names published encoder weights instead of storing them; here they are stored. The encoder's
classifier, which captions do not use, is left out.

A name without .safetensors is that of a folder: the graphs of encoder and decoder and a
captioner.json, for `python -m caption.onnx` and for programs in other languages. With --web it is a
site as well: put it on any web server, or try it with `python -m http.server --directory dog`.
"""

import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from caption.decoding.flags import DecodeFlags, apply_flags
from eval import command

if TYPE_CHECKING:
    from caption.captioner import Captioner


@dataclass(frozen=True)
class Options:
    """Write a whole captioner: a file for this project, or a folder of ONNX graphs.

    Example: python -m caption.export --run runs/default --out captioner.safetensors
    """

    out: Path
    """a file that ends in .safetensors, or a folder for ONNX graphs"""
    run: Path | None = None
    """a run's folder, a model.safetensors or the name of a model (default: runs/latest)"""
    halves: bool = False
    """.safetensors: store weights as float16, half the size; they are float32 when they are read"""
    format: Literal["onnx", "pt2"] = "onnx"
    """folder: onnx, or pt2, programs of torch.export that load without this project"""
    storage: Literal["float32", "float16", "int8"] | None = None
    """folder: how weights are stored in .onnx; what is computed is float32 (default: float32, with
    --web float16)"""
    web: bool = False
    """folder: add index.html, a page that captions pictures in the browser and uploads nothing"""
    runtime: Path | None = None
    """--web: an unpacked onnxruntime-web package to copy (default: the page loads it from a CDN)"""
    check: Path | None = None
    """folder: caption the validation pictures of this data folder and print CIDEr-D of both"""
    trained_on: str = ""
    """a phrase on the training data, which every command shows (default: the data folder's name)"""
    decode: Annotated[DecodeFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=dict)
    """Decoding options that the file's users get by default. The default is that of the run."""

    def __post_init__(self) -> None:
        if self.out.suffix not in ("", ".safetensors"):
            raise ValueError(f"--out {self.out}: give a name.safetensors, or a folder")
        if self.halves and not self.out.suffix:
            raise ValueError("--halves is for .safetensors; a folder takes --storage float16")
        if self.web and (self.out.suffix or self.format != "onnx"):
            raise ValueError("--web needs --format onnx and a folder as --out")
        if self.runtime and not self.web:
            raise ValueError("--runtime needs --web")
        if self.check and (self.out.suffix or self.format != "onnx"):
            raise ValueError("--check needs --format onnx and a folder as --out")


def main(options: Options) -> None:
    from caption.captioner import Captioner

    captioner = Captioner.load(options.run)
    captioner = replace(captioner, decoding=apply_flags(options.decode, captioner.decoding))
    if options.trained_on:
        captioner = replace(captioner, run={**captioner.run, "trained_on": options.trained_on})
    if options.out.suffix:
        write_file(captioner, options.out, options.halves)
        print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
        return
    from caption.onnx.export import export_folder
    from caption.onnx.web import runtime_folder, write_page

    if options.runtime:
        runtime_folder(options.runtime)  # before the export, which takes a while
    storage = options.storage or ("float16" if options.web else "float32")
    page = partial(write_page, runtime=options.runtime) if options.web else None
    export_folder(captioner, options.out, options.format, storage, page=page)
    for path in sorted(path for path in options.out.rglob("*") if path.is_file()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    if options.check:
        from caption.onnx.check import check

        print(check(captioner, options.out, options.check))


def write_file(captioner: "Captioner", out: Path, halves: bool) -> None:
    """Write the .safetensors file of a captioner with its encoder's weights."""
    from caption.pretrained.model_format import write_model
    from prepro.encoders import reset_classifier

    encoder = reset_classifier(captioner.encoder, ["unused"])
    if halves:
        _round(encoder.network)
    about = {
        **encoder.metadata(), "weights": captioner.encoder_info["weights"],
        "sha256": encoder.sha256, "public": False,
    }  # fmt: skip
    write_model(
        out, captioner.decoder, captioner.vocabulary.words, about, encoder.network.state_dict(),
        captioner.regions, captioner.decoding, captioner.run, halves,
    )  # fmt: skip


def _round(network) -> None:
    """Round the weights as the file stores them, so that the hash is that of the file."""
    from caption.pretrained.model_format import as_half

    for tensor in network.state_dict().values():
        tensor.copy_(as_half(tensor))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
