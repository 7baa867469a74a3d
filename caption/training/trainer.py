"""The parts of the training loop: one epoch, one step, one validation, one checkpoint.

In: what `caption.training.setup.open_trainer` built. `caption/train.py` is the loop over it.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from caption.config import TrainConfig
from caption.data.batches import Batch, CaptionSet
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore, Store
from caption.decoding.options import DecodeOptions
from caption.pretrained.model_format import write_model
from caption.training import checkpoint, image_batches, optim, resume
from caption.training.encoder_payload import encoder_payload, finetuned_encoder_payload
from caption.training.learner import Learner
from caption.training.objectives import Objective, build_objective
from caption.training.progress import Progress
from caption.training.resume import MakeEncoder
from caption.training.scst import Statistics
from caption.training.stages import next_stage
from caption.training.training_log import TrainingLog
from caption.training.validation import Validation, rows_of_rank, validate
from prepro.runtime import distributed, run_folder
from prepro.runtime.distributed import DistributedContext
from prepro.storage.feature_identity import features_identity
from prepro.storage.left_right import mentions_left_or_right


class Trainer:
    """One training run. As a context manager it closes the metrics log and releases the lock."""

    log: TrainingLog
    captions: CaptionSet
    objective: Objective

    def __init__(
        self, config: TrainConfig, context: DistributedContext, data: DataFolder,
        learner: Learner, progress: Progress, side: int, make_encoder: MakeEncoder,
    ) -> None:  # fmt: skip
        """`side` of the grid of regions that the decoder attends to, 0 for none."""
        self.config, self.context, self.data = config, context, data
        self.learner, self.progress, self.side = learner, progress, side
        self.make_encoder = make_encoder
        self.resources = contextlib.ExitStack()
        self.store: Store | None = None
        self.last_save = time.monotonic()
        self._setup_stage()

    def __enter__(self) -> "Trainer":
        return self

    @cached_property
    def never_mirrored(self) -> np.ndarray:
        """(N,) bool, read when the encoder is fine-tuned: with many captions that takes a while."""
        return mentions_left_or_right(self.data.labels)

    def __exit__(self, *exception: object) -> None:
        self.resources.close()

    @property
    def features_in(self) -> str:
        """Where the features of this stage come from."""
        return "features are computed" if self.store is None else self.store.where

    @property
    def resume_command(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        return f"python -m caption.train {shlex.join([*words, '--resume'])}"

    def enter_epoch(self, epoch: int) -> bool:
        """Start the stage of this epoch if it is a new one; False if training is over."""
        progress = self.progress
        stage = next_stage(self.config, progress, epoch)
        if stage is None:
            return False
        if stage != (progress.finetune, progress.scst):
            starts_scst = stage[1] and not progress.scst
            progress.finetune, progress.scst = stage
            progress.stage_epoch, progress.stale = epoch, 0
            progress.loss, progress.steps, progress.sums = 0.0, 0, []
            if starts_scst:
                out, finetune = self.config.out, progress.finetune
                resume.start_from(out, self.learner, self.data, finetune, self.make_encoder)
            else:
                self.learner.attach_encoder(self.make_encoder())
            self._setup_stage()
        self.learner.network.train()
        return True

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """Yields the batches of each remaining step of this epoch."""
        config, progress = self.config, self.progress
        position = (number, config.batch_size, progress.cursor, self.context)
        if progress.finetune:
            plan = list(self.captions.selections(*position))
            dataset = image_batches.AugmentedImages(
                self.data.labels, self.learner.network.encoder.encoder.transform, plan,
                self.never_mirrored, config.seed, number,
            )  # fmt: skip
            device = self.context.device
            batches = image_batches.load(self.captions, dataset, config.workers, device)
        else:
            batches = self.captions.epoch(*position)
        while group := list(itertools.islice(batches, config.accumulate)):
            yield group
        progress.epoch, progress.cursor = number + 1, 0

    def update(self, batches: list[Batch], stop: int = 0) -> bool:
        """One optimizer step. Returns whether any process was asked to `stop`.

        RuntimeError, before a weight changes, if the loss or a gradient is not finite.
        """
        progress, context, learner = self.progress, self.context, self.learner
        rates = optim.learning_rates(self.config, progress)
        optim.set_rates(learner.optimizer, rates)
        distributed.seed_step(self.config.seed, progress.step, context.rank)
        own_tokens = sum(int(batch.token_mask.sum()) for batch in batches)
        num_tokens, stopped = distributed.all_sum(context, own_tokens, stop)
        results = learner.backward(self.objective, batches, num_tokens, progress.epoch)
        loss, *sums = distributed.all_sum(context, *results)
        norm = learner.clip()
        if not math.isfinite(loss + norm):
            self._raise_nonfinite(batches, loss, norm, rates["decoder"])
        learner.step()
        self._advance(loss, sums, norm, rates["decoder"], len(batches))
        return stopped > 0

    def finish_epoch(self, number: int) -> None:
        """Validate and save. If the validation fails, the state before it is saved."""
        progress = self.progress
        try:
            better = self.validate()
        except Exception:
            progress.epoch, progress.cursor = number, len(self.captions)
            with contextlib.suppress(OSError):  # of a full disk, which the first error names
                self.save(best=False)
            raise
        self.save(best=better)

    def validate(self) -> bool:
        """Score the validation split. Returns whether it is the best score so far."""
        progress, context, model = self.progress, self.context, self.learner.eval_model
        store = self.store
        distributed.broadcast_buffers(context, model)
        if progress.finetune:
            rows, workers = rows_of_rank(self.data, "val", context), self.config.workers
            store = image_batches.encode_images(
                model.encoder, self.data, rows, workers, context.device
            )
        options = DecodeOptions(beam=1)
        result = validate(model.decoder, self.data, store, "val", options, context)
        validated = [self.data.labels.records[row] for row in self.data.split("val")]
        self.log.log_validation(progress, result, validated)
        better = result.scores["CIDEr-D"] > progress.best
        if better and context.rank == 0:
            self._write_model(result)
        progress.stale = 0 if better else progress.stale + 1
        progress.best = max(result.scores["CIDEr-D"], progress.best)
        return better

    def save(self, best: bool) -> None:
        """Write a checkpoint, from which the run continues as if it had never stopped."""
        if self.context.rank == 0:
            state = self.learner.state()
            state["progress"] = dataclasses.asdict(self.progress)
            state["config"] = json.loads(self.config.to_json())
            state["vocabulary"] = self.data.labels.vocabulary.sha256
            state["features"] = features_identity(self.data.features)
            state["captions"] = self.data.labels.captions_sha256
            checkpoint.save(self.config.out, state, self.progress.step, best)
        self.last_save = time.monotonic()

    def _setup_stage(self) -> None:
        """Choose what the stage reads (stored features or images) and which loss it minimises."""
        config, device, progress = self.config, self.context.device, self.progress
        if progress.finetune:
            self.store = None
        elif self.store is None:
            regions = self.learner.network.decoder.needs_regions
            self.store = FeatureStore(self.data.features, regions, config.features_in, self.context)
        self.captions = CaptionSet(
            self.data, self.store, "train", config.captions_per_image, config.seed, device
        )
        self.objective = build_objective(progress.scst, config, self.data, device)
        self.learner.wrap()

    def _advance(
        self, loss: float, sums: list[float], norm: float, rate: float, batches: int
    ) -> None:
        progress, before = self.progress, self.progress.cursor
        done = before + self.config.batch_size * batches
        progress.step, progress.cursor = progress.step + 1, min(done, len(self.captions))
        progress.loss, progress.steps = progress.loss + loss, progress.steps + 1
        previous = progress.sums or [0.0] * len(sums)
        progress.sums = [a + b for a, b in zip(previous, sums, strict=True)]
        samples = Statistics(*progress.sums).means() if progress.scst else {}
        self.log.log_step(progress, norm, rate, progress.cursor - before, samples)

    def _raise_nonfinite(self, batches: list[Batch], loss: float, norm: float, rate: float) -> None:
        ids = [self.data.labels.records[row].id for batch in batches for row in batch.rows]
        raise RuntimeError(
            f"step {self.progress.step}: the loss ({loss}) or the norm of the gradient ({norm}) is "
            f"not finite, at learning rate {rate:g} and images {ids}; no weight was changed; "
            f"the last checkpoint is in {self.config.out}; try a lower --learning-rate"
        )

    def _write_model(self, result: Validation) -> None:
        config, model = self.config, self.learner.eval_model
        run = {
            "config": json.loads(config.to_json()),
            "data": self.data.labels.images_sha256,
            "validation": {**result.scores, "epoch": self.progress.epoch},
        }
        if model.encoder is None:
            encoder = encoder_payload(config.data, self.data.features)
        else:
            encoder = finetuned_encoder_payload(model.encoder.encoder)
        words = self.data.labels.vocabulary.words
        path = config.out / "model.safetensors"
        write_model(path, model.decoder, words, *encoder, self.side, DecodeOptions(), run)
        run_folder.link_latest(config.out)
