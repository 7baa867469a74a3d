"""Build a Trainer: the data, the decoder, the checkpoint, and the run's folder.

    with open_trainer(config, context) as trainer: ...

Nothing is written before the data, the options and a checkpoint to start from have been checked. A
run that resumes takes the folder's lock before it reads anything that may change.
"""

import contextlib
import math
from dataclasses import replace

import torch

from caption import models
from caption.config import TrainConfig
from caption.data.data_folder import DataFolder
from caption.training import checkpoint, resume
from caption.training.caption_model import FinetunedEncoder
from caption.training.encoder_payload import data_encoder
from caption.training.learner import Learner
from caption.training.progress import Progress
from caption.training.stages import next_stage
from caption.training.trainer import Trainer
from caption.training.training_log import TrainingLog
from eval.files import write_text
from prepro.encoders.memory import checkpoint_blocks
from prepro.runtime import distributed, run_folder
from prepro.runtime.distributed import DistributedContext
from prepro.runtime.precision import training_precision


def open_trainer(config: TrainConfig, context: DistributedContext) -> Trainer:
    """A Trainer that holds the lock of the run's folder; use it as a context manager.

    FileNotFoundError or ValueError for data, options or a checkpoint that do not fit together;
    RuntimeError if another process trains in this folder.
    """
    config = replace(config, precision=training_precision(config.precision, context.device))
    with contextlib.ExitStack() as resources:
        lock = run_folder.lock_run(config.out)
        if config.resume:
            run_folder.require_resumable(config.out)
            distributed.run_on_rank_zero(context, lambda: resources.enter_context(lock))
        data = DataFolder.open(config.data)
        require_validation(data, context.world)
        torch.manual_seed(config.seed)
        learner = build_learner(config, data, context)
        side = grid_side(learner, data)

        def make_encoder() -> FinetunedEncoder:
            return build_encoder(config, data, side, context)

        progress = Progress()
        if config.resume and (config.out / "last.json").is_file():
            progress = resume.restore(learner, data, make_encoder)
        else:
            progress.finetune, progress.scst = next_stage(config, progress, 0)
            if config.start:
                resume.start_from(config.start, learner, data, progress.finetune, make_encoder)
            elif progress.finetune:
                learner.attach_encoder(make_encoder())
        trainer = Trainer(config, context, data, learner, progress, side, make_encoder)

        def prepare_folder() -> None:
            if not config.resume:
                run_folder.archive_existing(config.out)
                resources.enter_context(lock)
            checkpoint.require_room(config.out, learner.checkpoint_size)
            for rest in config.out.glob(".*.partial"):  # of a killed run; the lock is ours
                rest.unlink(missing_ok=True)
            if progress.is_new:  # a killed run may have left rows of its first epoch
                (config.out / "metrics.jsonl").unlink(missing_ok=True)
            write_text(config.out / "config.json", config.to_json())

        distributed.run_on_rank_zero(context, prepare_folder)
        images = len(trainer.captions)
        trainer.log = resources.enter_context(
            TrainingLog(config, context.rank == 0, images, progress)
        )
        trainer.resources = resources.pop_all()  # from now on the trainer closes them
        return trainer


def require_validation(data: DataFolder, processes: int) -> None:
    """ValueError unless each process has a picture with captions to validate on."""
    captioned = [row for row in data.split("val") if data.labels.records[row].captions]
    if not any(record.captions for record in data.labels.records):  # neuraltalk2's labels.json
        raise ValueError(
            f"{data.labels.folder}: labels.json has no captions to validate with; make the folder "
            "with python -m prepro.labels --annotations cocotalk.json --images FOLDER"
        )
    if len(captioned) < processes:
        raise ValueError(
            f"{data.labels.folder}: {len(captioned)} pictures with captions in the split 'val', "
            f"fewer than the {processes} processes that validate"
        )


def build_learner(config: TrainConfig, data: DataFolder, context: DistributedContext) -> Learner:
    """An untrained decoder of the config's sizes, for the features of `data`."""
    provenance = data.features.provenance
    # a detector's regions are a set of varying size
    is_grid = config.positions and data.features.count is None
    shape = models.Shape(
        data.labels.vocabulary.classes, provenance.dim, config.embedding, config.hidden,
        config.layers, config.heads, provenance.regions if is_grid else 0, config.dropout,
        config.position_std, config.attention, config.decoder_layers, config.feed_forward,
        config.norm_eps, config.norm, config.region_projection, config.sentinel_layers,
    )  # fmt: skip
    return Learner(models.build(config.decoder, shape).to(context.device), config, context)


def grid_side(learner: Learner, data: DataFolder) -> int:
    """The side of the grid of regions that the decoder attends to; 0 if it attends to none."""
    needs_regions = learner.network.decoder.needs_regions
    return math.isqrt(data.features.provenance.regions) if needs_regions else 0


def build_encoder(
    config: TrainConfig, data: DataFolder, side: int, context: DistributedContext
) -> FinetunedEncoder:
    """The encoder that made the stored features, ready to be trained."""
    pretrained = data.features.provenance.weights != "none"
    encoder = FinetunedEncoder(
        data_encoder(config.data, data.features), side, config.finetune_layers, pretrained
    ).to(context.device)
    if config.save_memory:
        checkpoint_blocks(encoder.network)
    return encoder
