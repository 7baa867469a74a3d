"""Train an encoder on labelled pictures, as fb.resnet.torch and torch-inception-resnet-v2 do.

In: a folder of classes (train/ and val/), CIFAR's files or a file of prepro.pack; or an annotation
file with labels; or a data folder, whose captions are then used as labels. Out: a folder with
encoder.safetensors, which `--weights FILE` of every other command takes, metrics.jsonl and last.pt.

    python -m prepro.pretrain --data flowers --out runs/flowers --encoder resnet18 --crop 128
"""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eval import command
from prepro.pretraining.recipes import Recipe, choose_recipe

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.pretraining.dataset import LabelledDataset
    from prepro.pretraining.tasks import Task
    from prepro.runtime.distributed import DistributedContext
    from prepro.runtime.signals import StopRequest

MODULE = "prepro.pretrain"


@dataclass(frozen=True)
class Options:
    """Train an encoder, the network that turns a picture into features, on labelled pictures.

    Example: python -m prepro.pretrain --data flowers --out runs/flowers --encoder resnet18

    Several GPUs: torchrun --nproc-per-node 8 -m prepro.pretrain --data imagenet --out runs/r50 ...

    A stopped run continues with the same command and --resume.
    """

    data: Path
    """an ImageFolder (a folder with train/CLASS/*.jpg and val/CLASS/*.jpg), the folder of CIFAR's
    binary files, a file of prepro.pack, an annotations.json whose images have labels, or a data
    folder with labels.json"""
    out: Path
    """the run folder: encoder.safetensors, metrics.jsonl and last.pt are written into it"""
    encoder: str = "resnet18"
    """the network to train; python -m prepro.encoders lists the names"""
    retrain: str = "none"
    """the weights to start from: none (random), default (published), the name of published weights,
    or a file; the classifier is new where the classes are new"""
    recipe: str = "small"
    """the hyperparameters: imagenet, cifar (fb.resnet.torch), inception
    (torch-inception-resnet-v2), modern (RandAugment, MixUp, CutMix), small (thousands of pictures)
    or captions (many labels a picture)"""
    crop: int = 0
    """side of the crop for evaluation, in pixels; 0: the encoder's default"""
    resize: int = 0
    """length of the short side before that crop; 0: 8/7 of --crop, or the encoder's default"""
    train_crop: int = 0
    """side of the crop for training; 0: the same as for evaluation. A smaller one trains faster"""
    epochs: int | None = None
    """number of epochs; by default the recipe's"""
    batch: int | None = None
    """pictures a batch over all processes; by default the recipe's"""
    lr: float | None = None
    """learning rate at that batch size; by default the recipe's"""
    step: int | None = None
    """decay the learning rate every so many iterations, as the inception recipe does (12800)"""
    gamma: float | None = None
    """the factor of each such decay (0.96)"""
    momentum: float | None = None
    """momentum of SGD; by default the recipe's"""
    weight_decay: float | None = None
    """weight decay; by default the recipe's"""
    augment: str | None = None
    """data augmentation: imagenet, cifar, modern or none; by default the recipe's"""
    mix: float | None = None
    """alpha of MixUp, which alternates with CutMix; 0 turns both off"""
    ema: float | None = None
    """decay of the exponential moving average of the weights, which is evaluated and exported;
    0: no average"""
    checkpoint_blocks: bool = False
    """store only each block's input and recompute the rest: 60 % less memory, a third slower"""
    freeze_norms: bool = False
    """freeze the BatchNorm layers (for --retrain with small batches): half the memory"""
    resume: bool = False
    """continue from OUT/last.pt, the checkpoint of the last complete epoch"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps"""
    workers: int = 0
    """number of processes that read pictures; 0 reads them in the main process"""
    seed: int = 0
    """random seed of the initial weights, the order of the pictures and their augmentation"""


def main(options: Options) -> int:
    return run(options, *open_data(options.data))


def open_data(path: Path) -> "tuple[LabelledDataset, Task]":
    """The data set of --data and its task. Raises FileNotFoundError, ValueError."""
    from prepro.pretraining import datasets, multilabel
    from prepro.pretraining.tasks import SingleLabel

    if path.suffix == ".json":
        return multilabel.open_label_file(path)
    if (path / "labels.json").is_file():
        return multilabel.open_caption_labels(path)
    dataset = datasets.open_dataset(path)
    return dataset, SingleLabel(dataset.classes)


def run(options: Options, dataset: "LabelledDataset", task: "Task") -> int:
    """Train on a data set; the exit status."""
    from prepro.runtime import distributed, run_folder

    recipe = choose_recipe(
        options.recipe, epochs=options.epochs, batch=options.batch, lr=options.lr,
        step=options.step, gamma=options.gamma, momentum=options.momentum, mix=options.mix,
        weight_decay=options.weight_decay, augment=options.augment, ema=options.ema,
    )  # fmt: skip
    _check_folder(options)
    context = distributed.init_distributed(options.device)
    with contextlib.ExitStack() as stack, distributed.report_lost_processes(context):
        distributed.run_on_rank_zero(
            context, lambda: stack.enter_context(run_folder.lock_run(options.out))
        )
        encoder = prepare_encoder(options, recipe, dataset)
        status = train(options, recipe, dataset, task, encoder, context)
        distributed.shutdown_distributed()
    return status


def _check_folder(options: Options) -> None:
    from prepro.pretraining.checkpoint import FILE_NAME

    exists = (options.out / FILE_NAME).is_file()
    if exists and not options.resume:
        raise ValueError(f"{options.out} holds a run: add --resume, or choose another --out")
    if options.resume and not exists:
        raise FileNotFoundError(
            f"{options.out / FILE_NAME}: nothing to resume from; leave out --resume"
        )


def train(
    options: Options, recipe: Recipe, dataset: "LabelledDataset", task: "Task",
    encoder: "Encoder", context: "DistributedContext",
) -> int:  # fmt: skip
    """Train, or continue a run; the exit status."""
    from prepro.pretraining import checkpoint, trainer
    from prepro.pretraining.measures import NAMES
    from prepro.pretraining.setup import TrainingSetup
    from prepro.runtime.signals import trap_signals

    setup = TrainingSetup(
        recipe, dataset.train, dataset.val, task, context, options.out,
        options.train_crop or encoder.transform.crop, options.seed, options.workers,
    )  # fmt: skip
    state = trainer.init_state(encoder, setup)
    if options.resume:
        checkpoint.load(options.out, state, setup.settings(encoder))
    with trap_signals() as stop:
        finished = trainer.fit(state, setup, stop)
    if not finished:
        return report_stop(state.epoch, stop, context)
    if context.rank == 0:
        path = options.out / trainer.ENCODER_FILE
        print(f"{path}  best {NAMES[task.main_error]} {state.best:.2f} %")
    return 0


def report_stop(epoch: int, stop: "StopRequest", context: "DistributedContext") -> int:
    """Print how to continue after a signal; `epoch` epochs are saved. The exit status."""
    from prepro.runtime.signals import STOPPED_ELSEWHERE, resume_command

    if context.rank == 0:
        if epoch:
            hint = "which is repeated; go on with: " + resume_command(MODULE, "--resume")
        else:
            hint = "before the first checkpoint; start again with: " + resume_command(MODULE)
        print(f"stopped in epoch {epoch + 1}, {hint}", file=sys.stderr)
    return stop.status or STOPPED_ELSEWHERE


def prepare_encoder(options: Options, recipe: Recipe, dataset: "LabelledDataset") -> "Encoder":
    """The encoder before training, with the classes, transform and memory use of the options."""
    from dataclasses import replace

    from prepro import encoders
    from prepro.encoders import memory

    encoder = encoders.create_encoder(options.encoder, options.retrain, options.seed)
    encoder = encoders.reset_classifier(encoder, dataset.classes, options.seed)
    transform = encoder.transform
    if options.retrain == "none":
        mean, std = dataset.mean or transform.mean, dataset.std or transform.std
        transform = replace(transform, mean=mean, std=std, **recipe.eval_transform_options())
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
