"""What is in a picture, and how often a network is wrong: fb.resnet.torch's classify and -testOnly.

In: an encoder and picture files, or a folder of labelled pictures. Out: for each picture its five
best classes with their probabilities; or top-1 and top-5 errors, with one crop or ten.

    python -m prepro.classify --encoder runs/flowers/encoder.safetensors rose.jpg
    python -m prepro.classify --encoder resnet50 --weights default --data imagenet --crops 10
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class Options:
    """Name what pictures show, or measure a network's errors.

    Example: python -m prepro.classify --encoder runs/flowers/encoder.safetensors rose.jpg
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """picture files"""
    encoder: str = "resnet50"
    """a name, or a file of prepro.pretrain"""
    weights: str = "default"
    """for a name: default, a published name, or a file"""
    data: Path | None = None
    """labelled pictures to measure errors on, instead of picture files"""
    crop: int = 0
    """side of the crop; 0: the weights' own"""
    resize: int = 0
    """short side before the crop; 0: the weights' own, or 8/7 of --crop"""
    crops: int = 1
    """1, or 10: centre and corners, mirrored too; their logits are summed"""
    batch: int = 64
    """pictures at once; a tenth of it with ten crops"""
    workers: int = 0
    """processes that read pictures"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps"""
    json: bool = False
    """one JSON value instead of lines"""


def main(options: Options) -> int:
    from prepro import encoders
    from prepro.runtime import distributed

    if bool(options.pictures) == bool(options.data) or options.crops not in (1, 10):
        raise ValueError("give picture files or --data, one of them, and --crops 1 or 10")
    gone = [path for path in (*options.pictures, options.data) if path and not path.exists()]
    if gone:
        raise FileNotFoundError(f"{gone[0]}: no such file or folder")
    context = distributed.init_distributed(options.device)
    if options.encoder.endswith(encoders.FILES):
        encoder = encoders.load(options.encoder)
    else:
        encoder = encoders.create_encoder(options.encoder, options.weights)
    if options.crop or options.resize:
        crop = options.crop or encoder.transform.crop
        resize = options.resize or round(crop * 8 / 7)
        encoder = replace(encoder, transform=replace(encoder.transform, crop=crop, resize=resize))
    encoder.network.to(context.device).eval()
    return measure(options, encoder, context) if options.data else name(options, encoder, context)


def measure(options: Options, encoder: "Encoder", context: "DistributedContext") -> int:
    """Errors on the validation pictures of --data."""
    from prepro.pretraining.datasets import open_data
    from prepro.pretraining.evaluate import evaluate
    from prepro.pretraining.targets import Classes

    data = open_data(options.data)
    outputs = encoder.metadata()["outputs"]
    if outputs != len(data.classes):
        raise ValueError(f"{options.data} has {len(data.classes)} classes, the network {outputs}")
    errors = evaluate(
        encoder.network, encoder.transform, data.val, Classes(data.classes), context,
        options.batch, options.crops, options.workers,
    )  # fmt: skip
    if options.json:
        print(json.dumps(errors))
    else:
        print(f"loss {errors.pop('loss'):.3f}")
        for key, value in errors.items():
            print(f"{key} error {value:.3f} %")
    return 0


def name(options: Options, encoder: "Encoder", context: "DistributedContext") -> int:
    """The best classes of each picture; 1 where one could not be read."""
    from prepro.images import BadImage, open_rgb

    found, status = {}, 0
    for path in options.pictures:
        try:
            found[str(path)] = best(encoder, open_rgb(path), context, options.crops)
        except BadImage as error:
            print(f"left out {path}: {error}", file=sys.stderr)
            status = 1
    if options.json:
        print(json.dumps(found))
        return status
    for path, classes in found.items():
        print(path)
        for label, probability in classes:
            print(f"  {probability:.4f}  {label}")
    return status


def best(
    encoder: "Encoder", picture, context: "DistributedContext", crops: int
) -> list[tuple[str, float]]:
    """The five best classes of a picture, or all of fewer, and their probabilities."""
    import torch

    from prepro.pretraining.evaluate import crop_pixels, logits_of

    transform = encoder.transform
    pixels = crop_pixels(picture, transform=transform, crops=crops)
    with torch.inference_mode():
        logits = logits_of(encoder.network, torch.from_numpy(pixels)[None], transform, context)[0]
    # logits of ten crops are summed for their order; a probability is that of their mean
    top = (logits / crops).softmax(0).topk(min(5, len(logits)))
    names = encoder.classes or [f"class {number}" for number in range(len(logits))]
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [(names[index], probability) for index, probability in pairs]


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
