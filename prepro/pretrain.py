"""Train an encoder on labelled pictures: fb.resnet.torch's and torch-inception-resnet-v2's job.

In: a folder of classes (train/ and val/), CIFAR's files, a packed store; or an annotation file with
labels, or a data folder, whose captions then are the labels. Out: a folder with
encoder.safetensors, which `--weights FILE` of every other command takes, metrics.jsonl and last.pt.

    python -m prepro.pretrain --data flowers --out runs/flowers --encoder resnet18 --crop 128
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command
from prepro.pretraining.recipes import Recipe, choose

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.pretraining.dataset import Data


@dataclass(frozen=True)
class Options:
    """Train an encoder on labelled pictures.

    Example: python -m prepro.pretrain --data flowers --out runs/flowers --encoder resnet18
    Several GPUs: torchrun --nproc-per-node 8 -m prepro.pretrain --data imagenet --out runs/r50 ...
    """

    data: Path
    """train/ and val/ folders of classes, CIFAR's binary files, a file of prepro.pack,
    annotations.json whose images have labels, or a data folder with labels.json"""
    out: Path
    """folder for encoder.safetensors, metrics.jsonl and last.pt"""
    encoder: str = "resnet18"
    """what to train; python -m prepro.encoders lists the names"""
    retrain: str = "none"
    """weights to begin from (default, a name, a file); the classifier is new for new classes"""
    recipe: str = "small"
    """imagenet, cifar (fb.resnet.torch), inception (torch-inception-resnet-v2), modern or small"""
    crop: int = 0
    """side of the evaluated crop; 0: the encoder's own"""
    resize: int = 0
    """short side before that crop; 0: 8/7 of it, or the encoder's own"""
    train_crop: int = 0
    """side of the training crop; 0: the evaluated one's. A smaller one trains faster"""
    epochs: int | None = None
    """instead of the recipe's"""
    batch: int | None = None
    """pictures a batch over all processes, instead of the recipe's"""
    lr: float | None = None
    """learning rate at that batch, instead of the recipe's"""
    step: int | None = None
    """iterations between two decays of the learning rate, as the inception recipe has (12800)"""
    gamma: float | None = None
    """factor of such a decay (0.96)"""
    momentum: float | None = None
    """instead of the recipe's"""
    weight_decay: float | None = None
    """instead of the recipe's"""
    augment: str | None = None
    """imagenet, cifar, modern or none, instead of the recipe's"""
    mix: float | None = None
    """alpha of MixUp, in turns with CutMix; 0: neither"""
    ema: float | None = None
    """decay a step of the average of weights that is kept; 0: none"""
    checkpoint_blocks: bool = False
    """keep each block's input only and compute the rest again: 60 % less memory, a third slower"""
    freeze_norms: bool = False
    """fixed BatchNorm statistics and affine (--retrain with small batches): half the memory"""
    resume: bool = False
    """go on from OUT/last.pt"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps"""
    workers: int = 0
    """processes that read pictures"""
    seed: int = 0
    """of the initial weights, the order and the augmentation"""


def main(options: Options) -> None:
    if options.data.suffix == ".json" or (options.data / "labels.json").is_file():
        from prepro.pretraining import multilabel

        open_many = multilabel.open_labels if options.data.is_file() else multilabel.open_captions
        run(options, *open_many(options.data))
        return
    from prepro.pretraining.datasets import open_data
    from prepro.pretraining.targets import Classes

    data = open_data(options.data)
    run(options, data, Classes(data.classes))


def run(options: Options, data: "Data", labels: object) -> dict[str, float]:
    """Train on any data, with any labels that have the methods of targets.Classes."""
    from prepro.pretraining import trainer
    from prepro.pretraining.run_folder import RunFolder
    from prepro.runtime import distributed

    recipe = choose(
        options.recipe, epochs=options.epochs, batch=options.batch, lr=options.lr,
        step=options.step, gamma=options.gamma, momentum=options.momentum, mix=options.mix,
        weight_decay=options.weight_decay, augment=options.augment, ema=options.ema,
    )  # fmt: skip
    folder = RunFolder(options.out)
    if folder.checkpoint.exists() and not options.resume:
        raise ValueError(f"{options.out} holds a run already: --resume it, or choose another --out")
    context = distributed.init_distributed(options.device)
    encoder = prepare(options, recipe, data)
    folder.path.mkdir(parents=True, exist_ok=True)
    job = trainer.Job(
        recipe, data.train, data.val, labels, context, folder,
        options.train_crop or encoder.transform.crop, options.seed, options.workers,
    )  # fmt: skip
    training = trainer.begin(encoder, job)
    if options.resume:
        folder.load(training, job.meant(encoder))
    errors = trainer.fit(training, job)
    distributed.shutdown_distributed()
    if context.rank == 0:
        print(f"{folder.encoder}  best error {training.best:.2f} %")
    return errors


def prepare(options: Options, recipe: Recipe, data: "Data") -> "Encoder":
    """The encoder to begin with: classes, transform and memory as they were asked for."""
    from dataclasses import replace

    from prepro import encoders
    from prepro.encoders import memory

    encoder = encoders.create_encoder(options.encoder, options.retrain, options.seed)
    encoder = encoders.reset_classifier(encoder, data.classes, options.seed)
    transform = encoder.transform
    if options.retrain == "none":
        mean, std = data.mean or transform.mean, data.std or transform.std
        transform = replace(transform, mean=mean, std=std, **recipe.reading())
    if options.crop or options.resize:
        crop = options.crop or transform.crop
        transform = replace(transform, crop=crop, resize=options.resize or round(crop * 8 / 7))
    if options.freeze_norms:
        memory.freeze_norms(encoder.network)
    if options.checkpoint_blocks:
        memory.checkpoint_blocks(encoder.network)
    return replace(encoder, transform=transform)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
