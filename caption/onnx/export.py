"""Write the folder of an exported captioner: graphs, captioner.json and a README.

In: a Captioner. Out: encoder, begin and step as .onnx, or as .pt2 programs of torch.export, which
load without the code of this project.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from caption.captioner import Captioner
from caption.onnx.folder import FILE_NAME, Manifest, file_facts, write_manifest
from caption.onnx.graphs import Graph, decoder_graphs, encoder_graph
from caption.pretrained import TERMS, model_name
from eval.files import first_line
from prepro.encoders.region_positions import map_extent

Format = Literal["onnx", "pt2"]
Storage = Literal["float32", "float16", "int8"]
README = Path(__file__).with_name("README.md")


def export_folder(
    captioner: Captioner, out: Path, form: Format = "onnx", storage: Storage = "float32",
    page: Callable[[Path], None] | None = None,
) -> None:  # fmt: skip
    """Write the folder, whole or not at all; one that an earlier export wrote is replaced.

    `page` adds files to the folder before it appears.
    ValueError for a folder with other files, and for a network that cannot be exported.
    """
    if out.exists() and any(out.iterdir()) and not (out / FILE_NAME).is_file():
        raise ValueError(f"{out}: holds other files; give the name of a new folder")
    if form == "pt2" and storage != "float32":
        raise ValueError(f"--storage {storage} needs --format onnx")
    begin, step = decoder_graphs(captioner)
    graphs = (encoder_graph(captioner), begin, step)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        for graph in graphs:
            print(f"{graph.name}.{form}", file=sys.stderr)
            write_graph(graph, folder / f"{graph.name}.{form}", form, storage)
        files = {path.name: file_facts(path) for path in sorted(folder.iterdir())}
        write_manifest(folder, manifest_of(captioner, begin, files))
        shutil.copyfile(README, folder / "README.md")
        if page:
            page(folder)
        if out.exists():
            shutil.rmtree(out)
        os.replace(folder, out)


def manifest_of(captioner: Captioner, begin: Graph, files: dict) -> Manifest:
    """What captioner.json holds; `files` are the facts of each graph."""
    name, encoder = model_name(captioner.path), captioner.encoder_info
    weights = f"{encoder['encoder']} {encoder['weights']}".strip()
    about = {
        "name": name,
        "description": captioner.description,
        "decoder": captioner.run["config"]["decoder"],
        "trained_on": captioner.origin,
        "encoder": encoder["encoder"],
        "encoder_weights": encoder["weights"],
        "encoder_sha256": encoder["sha256"],
        "licence": TERMS.get(name) or f"those of {captioner.origin} and of the encoder ({weights})",
    }
    image = sum(name.startswith("image") for name in begin.outputs)
    transform = captioner.encoder.transform
    extent = map_extent(captioner.encoder.name, transform.crop)
    return Manifest(
        captioner.vocabulary.words, transform, captioner.regions, extent, image,
        len(begin.outputs) - image, captioner.decoding, about, files,
    )  # fmt: skip


def write_graph(
    graph: Graph, path: Path, form: Format = "onnx", storage: Storage = "float32"
) -> None:
    """Write one graph. ValueError, in one line, for a network that cannot be exported."""
    try:
        with _quiet():
            program = graph.export()
            if form == "pt2":
                torch.export.save(program, path)
                return
            onnx_program = torch.onnx.export(
                program, input_names=graph.inputs, output_names=graph.outputs, verbose=False
            )
    except ImportError:
        raise ValueError("this needs onnx: pip install 'resnet-caption[onnx]'") from None
    except Exception as error:  # torch.export fails in many ways
        raise ValueError(f"{graph.name}: cannot be exported ({first_line(error)})") from None
    from caption.onnx.storage import compress

    model = compress(onnx_program.model_proto, storage)
    path.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def _quiet():
    """Without the exporter's warnings and its progress on stdout."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
