"""What a training run consists of, and how one step, one validation and one checkpoint are done.

In: a TrainConfig. `caption/train.py` is the loop over it.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from caption import models
from caption.captioner import write_model
from caption.config import LASTING, SIZES, TrainConfig
from caption.data.batches import Batch, CaptionSet, DataFolder
from caption.data.feature_store import FeatureStore, Store
from caption.decoding.options import DecodeOptions
from caption.training import checkpoint, encoder_payload, image_batches, metrics_log, optim
from caption.training.caption_model import FinetunedEncoder
from caption.training.learner import Learner, eval_weights, has_encoder
from caption.training.objectives import objective
from caption.training.scst import Statistics
from caption.training.stages import Progress, next_stage
from caption.training.validation import Validation, share, validate
from eval.files import write_text
from prepro.encoders.memory import checkpoint_blocks
from prepro.runtime import distributed, run_folder
from prepro.runtime.distributed import DistributedContext


class Trainer:
    def __init__(self, config: TrainConfig, context: DistributedContext) -> None:
        self.config, self.context, self.progress = config, context, Progress()
        self.lock = contextlib.ExitStack()
        if config.resume:
            run_folder.require_resumable(config.out)
            distributed.run_on_rank_zero(
                context, self._lock
            )  # before anything is read that may yet change
        self.data = DataFolder.open(config.data)
        torch.manual_seed(config.seed)
        provenance = self.data.features.provenance
        shape = models.Shape(
            self.data.labels.vocabulary.classes, provenance.dim, config.embedding, config.hidden,
            config.layers, dropout=config.dropout,
            regions=provenance.regions if self.data.features.count is None else 0,  # a grid, a set
        )  # fmt: skip
        decoder = models.build(config.decoder, shape).to(context.device)
        self.side = math.isqrt(provenance.regions) if decoder.needs_regions else 0
        self.learner = Learner(decoder, config, context)
        self.sided = image_batches.sided_images(self.data.labels)
        self.store: Store | None = None
        self.saved = time.monotonic()
        if config.resume and (config.out / "last.json").is_file():
            self._restore()
        else:
            self._start()
        self._setup_stage()
        distributed.run_on_rank_zero(
            context, self._open
        )  # all is there and fits: only now is anything written
        self.log = metrics_log.MetricsLog(
            config, context.rank == 0, len(self.captions), self.progress
        )

    @property
    def resume_command(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        return f"python -m caption.train {shlex.join([*words, '--resume'])}"

    @property
    def unscored(self) -> bool:
        """Whether nothing has been validated yet; a run that starts from another begins so."""
        return self.progress.best == -math.inf

    def enter_epoch(self, epoch: int) -> bool:
        """Begin the stage that trains this epoch, if it is another; False when training is over."""
        progress = self.progress
        stage = next_stage(self.config, progress, epoch)
        if stage is None:
            return False
        if stage != (progress.finetune, progress.scst):
            turn = stage[1] and not progress.scst
            progress.finetune, progress.scst = stage
            progress.stage_epoch, progress.stale = epoch, 0
            progress.loss, progress.steps, progress.sums = 0.0, 0, []
            if turn:
                self._start_from(self.config.out)
            else:
                self.learner.attach_encoder(self._finetuned_encoder())
            self._setup_stage()
        self.learner.network.train()
        return True

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """The batches of each remaining step of this epoch; then it is over."""
        config, progress = self.config, self.progress
        at = (number, config.batch_size, progress.cursor, self.context)
        if progress.finetune:
            plan, labels = list(self.captions.picks(*at)), self.data.labels
            transform = self.learner.network.encoder.encoder.transform
            read = image_batches.Augmented(labels, transform, plan, self.sided, config.seed, number)
            batches = image_batches.batches(
                self.captions, read, config.workers, self.context.device
            )
        else:
            batches = self.captions.epoch(*at)
        while group := list(itertools.islice(batches, config.accumulate)):
            yield group
        progress.epoch, progress.cursor = number + 1, 0

    def update(self, batches: list[Batch], stop: int = 0) -> bool:
        """One step of the optimiser; whether any process was asked to `stop`.

        RuntimeError, before a weight moves, when the loss or a gradient is not finite.
        """
        progress, context, learner = self.progress, self.context, self.learner
        rates = optim.learning_rates(self.config, progress)
        optim.set_rates(learner.optimizer, rates)
        distributed.seed_step(self.config.seed, progress.step, context.rank)
        words = sum(int(batch.token_mask.sum()) for batch in batches)
        tokens, stopped = distributed.all_sum(context, words, stop)
        found = learner.backward(self.objective, batches, tokens, progress.epoch)
        loss, *sums = distributed.all_sum(context, *found)
        norm = learner.clip()
        if not math.isfinite(loss + norm):
            self._raise_nonfinite(batches, loss, norm, rates["decoder"])
        learner.step()
        self._advance(loss, sums, norm, rates["decoder"], len(batches))
        return stopped > 0

    def validate(self) -> bool:
        """Score the validation split; whether it is the best so far."""
        progress, context, model = self.progress, self.context, self.learner.eval_model
        store, options = self.store, DecodeOptions(beam=1)
        distributed.broadcast_buffers(context, model)
        if progress.finetune:
            rows, workers = share(self.data, "val", context), self.config.workers
            store = image_batches.encode_images(
                model.encoder, self.data, rows, workers, context.device
            )
        found = validate(model.decoder, self.data, store, "val", options, context)
        better = found.scores["CIDEr-D"] > progress.best
        progress.stale = 0 if better else progress.stale + 1
        progress.best = max(found.scores["CIDEr-D"], progress.best)
        self.log.validated(progress, found, self.data.labels.records)
        if better and context.rank == 0:
            self._write_model(found)
        return better

    def save(self, best: bool) -> None:
        """A checkpoint, from which this run goes on as if it had never stopped."""
        if self.context.rank == 0:
            state = self.learner.state()
            state["progress"] = dataclasses.asdict(self.progress)
            state["config"] = json.loads(self.config.to_json())
            state["vocabulary"] = self.data.labels.vocabulary.sha256
            state["features"] = self._features()
            checkpoint.save(self.config.out, state, self.progress.step, best)
        self.saved = time.monotonic()

    def _lock(self) -> None:
        self.lock.enter_context(run_folder.lock_run(self.config.out))

    def _open(self) -> None:
        """The run's folder, with its config."""
        if not self.config.resume:
            run_folder.archive_existing(self.config.out)
            self._lock()
        if self.unscored and not self.progress.step:  # what a killed one wrote counts for nothing
            (self.config.out / "metrics.jsonl").unlink(missing_ok=True)
        write_text(self.config.out / "config.json", self.config.to_json())

    def _start(self) -> None:
        """From nothing, or from the best weights of another run."""
        progress, config = self.progress, self.config
        progress.finetune, progress.scst = next_stage(config, progress, 0)
        if config.start:
            self._start_from(config.start)
        elif progress.finetune:
            self.learner.attach_encoder(self._finetuned_encoder())

    def _restore(self) -> None:
        """Stand where the last checkpoint stood. ValueError when it is of another kind of run."""
        state = self._fitting(self.config.out, "last", LASTING)
        self._require_features(state, self.config.out, self._features())
        try:
            self.progress = Progress(**state["progress"])
        except TypeError:
            raise ValueError(
                f"{self.config.out}: a run of an earlier version; begin with its best: --start"
            ) from None
        if self.progress.finetune:
            self.learner.attach_encoder(self._finetuned_encoder())
        self.learner.load(state)

    def _start_from(self, folder: Path) -> None:
        """Begin anew from the best weights of a run. ValueError when they are of another kind."""
        state = self._fitting(folder, "best", SIZES)
        finetune, trained = self.progress.finetune, has_encoder(eval_weights(state))
        if not trained:
            self._require_features(state, folder, ("encoder", "weights_sha256"))
        elif not finetune:
            raise ValueError(
                f"{folder}: its encoder was trained, so stored features are not what its decoder "
                "reads; add --finetune-after 0 (and --encoder-learning-rate 0 to leave it as it is)"
            )
        try:
            self.learner.load_pretrained(state, self._finetuned_encoder() if finetune else None)
        except RuntimeError:
            raise ValueError(
                f"{folder}: trained on features of another size than {self.config.data}'s"
            ) from None

    def _fitting(self, folder: Path, which: str, same: tuple[str, ...]) -> dict:
        """A run's last or best checkpoint. ValueError if these options or the words differ."""
        state = checkpoint.load(folder, which)
        self.config.require_same(TrainConfig.from_dict(state["config"], str(folder)), folder, same)
        if state["vocabulary"] != self.data.labels.vocabulary.sha256:
            raise ValueError(
                f"{folder}: trained with another vocabulary than {self.data.labels.folder}"
            )
        return state

    def _features(self) -> dict[str, str]:
        """What must not change under a run."""
        about = self.data.features.provenance
        names = ("encoder", "weights_sha256", "transform", "images")
        return {name: getattr(about, name) for name in names}

    def _require_features(self, state: dict, folder: Path, names: Iterable[str]) -> None:
        """ValueError where this run learnt from features of another kind."""
        mine = self._features()
        theirs = state.get("features", mine)
        for name in names:
            if mine[name] != theirs[name]:
                raise ValueError(
                    f"{folder}: learnt from features with {name} {theirs[name]}; "
                    f"{self.config.data}/features.h5 has {mine[name]}"
                )

    def _finetuned_encoder(self) -> FinetunedEncoder:
        """The encoder that stored features came from, ready to be trained."""
        config = self.config
        encoder = encoder_payload.data_encoder(config.data, self.data.features)
        learned = self.data.features.provenance.weights != "none"
        encoder = FinetunedEncoder(encoder, self.side, config.finetune_layers, learned).to(
            self.context.device
        )
        if config.save_memory:
            checkpoint_blocks(encoder.network)
        return encoder

    def _setup_stage(self) -> None:
        """What a stage reads and minimises: stored features where the encoder is frozen."""
        config, device, progress = self.config, self.context.device, self.progress
        if progress.finetune:
            self.store = None
        elif self.store is None:
            regions = self.learner.network.decoder.needs_regions
            self.store = FeatureStore(self.data.features, regions, config.features_in, device)
            if self.context.rank == 0:
                print(self.store.where, file=sys.stderr)
        self.captions = CaptionSet(
            self.data, self.store, "train", config.captions_per_image, config.seed, device
        )
        self.objective = objective(progress.scst, config, self.data, device)
        self.learner.wrap()

    def _advance(
        self, loss: float, sums: list[float], norm: float, rate: float, batches: int
    ) -> None:
        progress, before = self.progress, self.progress.cursor
        done = before + self.config.batch_size * batches
        progress.step, progress.cursor = progress.step + 1, min(done, len(self.captions))
        progress.loss, progress.steps = progress.loss + loss, progress.steps + 1
        old = progress.sums or [0.0] * len(sums)
        progress.sums = [a + b for a, b in zip(old, sums, strict=True)]
        samples = Statistics(*progress.sums).means() if progress.scst else {}
        self.log.stepped(progress, norm, rate, progress.cursor - before, samples)

    def _raise_nonfinite(self, batches: list[Batch], loss: float, norm: float, rate: float) -> None:
        ids = [self.data.labels.records[row].id for batch in batches for row in batch.rows]
        raise RuntimeError(
            f"step {self.progress.step}: not finite (loss {loss}, gradient's norm {norm}); "
            f"learning rate {rate:g}, images {ids}; no weight has moved, and the last good "
            f"checkpoint is in {self.config.out}"
        )

    def _write_model(self, found: Validation) -> None:
        config, model = self.config, self.learner.eval_model
        about = {
            "config": json.loads(config.to_json()),
            "data": self.data.labels.images_sha256,
            "validation": {**found.scores, "epoch": self.progress.epoch},
        }
        if model.encoder is None:
            encoder = encoder_payload.encoder_payload(config.data, self.data.features)
        else:
            encoder = encoder_payload.finetuned_encoder_payload(model.encoder.encoder)
        words = self.data.labels.vocabulary.words
        path = config.out / "model.safetensors"
        write_model(path, model.decoder, words, *encoder, self.side, DecodeOptions(), about)
        run_folder.link_latest(config.out)
