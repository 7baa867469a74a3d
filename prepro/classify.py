"""Classify pictures, or measure a network's errors: fb.resnet.torch's classify.lua and -testOnly.

In: an encoder, and picture files or a folder of labelled pictures. Out: the five best classes of
each picture with their probabilities; or the top-1 error (how often the best class is wrong) and
the top-5 error (how often the right class is not among the best five), with one crop or ten.

    python -m prepro.classify --encoder runs/flowers/encoder.safetensors rose.jpg
    python -m prepro.classify --encoder resnet50 --weights default --data imagenet --crops 10

Several --encoder form an ensemble: each reads the picture with its own transform, and their
probabilities are averaged, as He et al. 2015 (arXiv 1512.03385) do.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command
from eval.files import printable

if TYPE_CHECKING:
    from PIL import Image

    from prepro.encoders import Encoder
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class Options:
    """Name the classes of pictures, or measure a network's errors on labelled pictures.

    The top-1 error is how often the best class is wrong; the top-5 error, how often the right
    class is not among the best five.

    Example: python -m prepro.classify --encoder runs/flowers/encoder.safetensors rose.jpg
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """the picture files to classify"""
    encoder: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """the name of an encoder (python -m prepro.encoders lists them; default: resnet50), or the
    encoder.safetensors of a prepro.pretrain run; several form an ensemble for picture files"""
    weights: str = "default"
    """the weights of a named encoder: default, the name of published weights, or a file"""
    data: Path | None = None
    """the labelled pictures to measure errors on, instead of picture files"""
    crop: int = 0
    """side of the crop in pixels; 0: the default of the weights"""
    resize: int = 0
    """length of the short side before the crop; 0: the default of the weights, or 8/7 of --crop"""
    crops: int = 1
    """crops a picture: 1, or 10 (centre, corners and their mirror images; logits are summed)"""
    batch: int = 64
    """pictures a batch; a tenth of it with ten crops"""
    workers: int = 0
    """number of processes that read pictures; 0 reads them in the main process"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps"""
    json: bool = False
    """print one JSON value instead of text"""


def main(options: Options) -> int:
    from prepro.runtime import distributed

    if bool(options.pictures) == bool(options.data):
        raise ValueError(
            "give picture files or --data, one of them: python -m prepro.classify photo.jpg"
        )
    if options.crops not in (1, 10):
        raise ValueError(f"--crops {options.crops}: expected 1 or 10")
    if not any(path.exists() for path in (*options.pictures, options.data) if path):
        raise FileNotFoundError(f"{(*options.pictures, options.data)[0]}: no such file or folder")
    if options.data and len(options.encoder) > 1:
        raise ValueError("--data measures one encoder; give one --encoder")
    context = distributed.init_distributed(options.device)
    members = [load_encoder(name, options, context) for name in options.encoder or ("resnet50",)]
    outputs = {(len(member.classes), member.metadata()["outputs"]) for member in members}
    if len(outputs) > 1:
        raise ValueError("the encoders of an ensemble must have the same classes")
    if options.data:
        return measure_errors(options, members[0], context)
    return classify_images(options, members, context)


def load_encoder(name: str, options: Options, context: "DistributedContext") -> "Encoder":
    """The encoder with the crop that the options ask for, in evaluation mode."""
    from prepro import encoders

    if name.endswith(encoders.SUFFIXES):
        encoder = encoders.load(name)
    else:
        encoder = encoders.create_encoder(name, options.weights)
    if options.crop or options.resize:
        crop = options.crop or encoder.transform.crop
        resize = options.resize or round(crop * 8 / 7)
        encoder = replace(encoder, transform=replace(encoder.transform, crop=crop, resize=resize))
    encoder.network.to(context.device).eval()
    return encoder


def measure_errors(options: Options, encoder: "Encoder", context: "DistributedContext") -> int:
    """Print the errors on the validation images of --data."""
    from prepro.pretraining.datasets import open_dataset
    from prepro.pretraining.evaluate import evaluate
    from prepro.pretraining.measures import describe
    from prepro.pretraining.tasks import SingleLabel

    dataset = open_dataset(options.data)
    outputs = encoder.metadata()["outputs"]
    if outputs != len(dataset.classes):
        raise ValueError(
            f"{options.data} has {len(dataset.classes)} classes, but the network {outputs}; "
            "give the --encoder that was trained on it"
        )
    errors = evaluate(
        encoder.network, encoder.transform, dataset.val, SingleLabel(dataset.classes), context,
        options.batch, options.crops, options.workers,
    )  # fmt: skip
    if options.json:
        print(json.dumps(errors))
    else:
        print("\n".join(describe(errors, outputs, digits=3)))
    return 0


def classify_images(
    options: Options, members: list["Encoder"], context: "DistributedContext"
) -> int:
    """Print the best classes of each image; 1 if one could not be read."""
    from prepro.images import BadImage, open_rgb

    found, status = {}, 0
    for path in options.pictures:
        try:
            found[str(path)] = best_classes(members, open_rgb(path), context, options.crops)
        except BadImage as error:
            print(f"left out {printable(path)}: {error}", file=sys.stderr)
            status = 1
    if options.json:
        print(json.dumps(found))
        return status
    for path, classes in found.items():
        print(printable(path))
        for label, probability in classes:
            print(f"  {probability:.4f}  {label}")
    return status


def best_classes(
    members: list["Encoder"], image: "Image.Image", context: "DistributedContext", crops: int
) -> list[tuple[str, float]]:
    """The best classes of an image, at most five, with the mean of the members' probabilities."""
    import torch

    from prepro.pretraining.evaluate import compute_logits, crop_pixels

    probabilities = []
    for member in members:
        pixels = torch.from_numpy(crop_pixels(image, transform=member.transform, crops=crops))
        with torch.inference_mode():
            logits = compute_logits(member.network, pixels[None], member.transform, context)[0]
        # the logits of ten crops are summed; probabilities are those of their mean
        probabilities.append((logits / crops).softmax(0))
    mean = torch.stack(probabilities).mean(0)
    top = mean.topk(min(5, len(mean)))
    names = members[0].classes or [f"class {number}" for number in range(len(mean))]
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [(names[index], probability) for index, probability in pairs]


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
