"""Write a converted model as a run: model.safetensors and config.json.

In: an EarlierModel, and the name and weights of the encoder that made its features, if known. Out:
the files that every command reads. Pictures are encoded as scripts/prepro_feats.py of
self-critical.pytorch does: not cropped, 14 x 14 regions; those larger than COCO's are shrunk.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

from caption.config import SIZES, TrainConfig
from caption.conversion.checkpoint import EarlierModel
from caption.pretrained.model_format import write_model
from eval.files import write_text
from prepro.encoders import create_encoder
from prepro.transform import FULL_SIDE

SIDE = 14  # of the grid of regions


def write_run(model: EarlierModel, out: Path, encoder: str, weights: str, source: Path) -> Path:
    """The path of the model file. ValueError for an encoder whose features have another size."""
    shape = model.decoder.shape
    names = {field.name for field in fields(shape)}
    sizes = {name: getattr(shape, name) for name in SIZES if name in names}
    config = TrainConfig(
        out=out, decoder=model.decoder_name, dropout=shape.dropout, positions=False, **sizes
    )
    about, tensors = {"encoder": "", "weights": "unknown", "sha256": "", "public": False}, {}
    if encoder:
        network = create_encoder(encoder, weights)
        whole = replace(network.transform, mode="full", resize=FULL_SIDE)
        network = replace(network, transform=whole)
        if network.network.dim != shape.features:
            raise ValueError(
                f"--encoder {encoder}: its features have {network.network.dim} channels, the "
                f"decoder reads {shape.features}"
            )
        about = {
            **network.metadata(), "weights": weights, "sha256": network.sha256, "public": False
        }  # fmt: skip
        tensors = network.network.state_dict()
    values = json.loads(config.to_json())
    run = {"config": values, "converted_from": source.name, "trained_on": f"{source.name}'s data"}
    path = out / "model.safetensors"
    regions = SIDE if model.decoder.needs_regions else 0
    write_model(path, model.decoder, model.words, about, tensors, regions, model.decoding, run)
    write_text(out / "config.json", config.to_json())
    return path
