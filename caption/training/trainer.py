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

from caption import checkpoint, journal, models, run
from caption.captioner import write_model
from caption.config import LASTING, SIZES, TrainConfig
from caption.data import Batch, CaptionSet, DataFolder
from caption.decode_options import DecodeOptions
from caption.store import FeatureStore, Store
from caption.training import distributed, optim, pictures
from caption.training.distributed import Place
from caption.training.learner import Learner, kept_weights, trained_encoder
from caption.training.network import Sight
from caption.training.objectives import objective
from caption.training.scst import Statistics
from caption.training.stages import Progress, due
from caption.validate import Validation, share, validate
from eval.files import write_text
from prepro.encoders.memory import checkpoint_blocks


class Trainer:
    def __init__(self, config: TrainConfig, place: Place) -> None:
        self.config, self.place, self.progress = config, place, Progress()
        self.claim = contextlib.ExitStack()
        if config.resume:
            run.require_stopped(config.out)
            distributed.first(place, self._claim)  # before anything is read that may yet change
        self.data = DataFolder.open(config.data)
        torch.manual_seed(config.seed)
        provenance = self.data.features.provenance
        shape = models.Shape(
            self.data.labels.vocabulary.classes, provenance.dim, config.embedding, config.hidden,
            config.layers, dropout=config.dropout,
            regions=provenance.regions if self.data.features.count is None else 0,  # a grid, a set
        )  # fmt: skip
        decoder = models.build(config.decoder, shape).to(place.device)
        self.side = math.isqrt(provenance.regions) if decoder.needs_regions else 0
        self.learner = Learner(decoder, config, place)
        self.sided = pictures.sided_images(self.data.labels)
        self.store: Store | None = None
        self.saved = time.monotonic()
        if config.resume and (config.out / "last.json").is_file():
            self._restore()
        else:
            self._start()
        self._settle()
        distributed.first(place, self._open)  # all is there and fits: only now is anything written
        self.journal = journal.Journal(config, place.rank == 0, len(self.captions), self.progress)

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
        stage = due(self.config, progress, epoch)
        if stage is None:
            return False
        if stage != (progress.finetune, progress.critical):
            turn = stage[1] and not progress.critical
            progress.finetune, progress.critical = stage
            progress.begun, progress.stale = epoch, 0
            progress.loss, progress.steps, progress.sums = 0.0, 0, []
            if turn:
                self._adopt(self.config.out)
            else:
                self.learner.see(self._sight())
            self._settle()
        self.learner.network.train()
        return True

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """The batches of each remaining step of this epoch; then it is over."""
        config, progress = self.config, self.progress
        at = (number, config.batch_size, progress.cursor, self.place)
        if progress.finetune:
            plan, labels = list(self.captions.picks(*at)), self.data.labels
            transform = self.learner.network.sight.encoder.transform
            read = pictures.Augmented(labels, transform, plan, self.sided, config.seed, number)
            batches = pictures.batches(self.captions, read, config.workers, self.place.device)
        else:
            batches = self.captions.epoch(*at)
        while group := list(itertools.islice(batches, config.accumulate)):
            yield group
        progress.epoch, progress.cursor = number + 1, 0

    def update(self, batches: list[Batch], stop: int = 0) -> bool:
        """One step of the optimiser; whether any process was asked to `stop`.

        RuntimeError, before a weight moves, when the loss or a gradient is not finite.
        """
        progress, place, learner = self.progress, self.place, self.learner
        rates = optim.learning_rates(self.config, progress)
        optim.set_rates(learner.optimizer, rates)
        distributed.seed_step(self.config.seed, progress.step, place.rank)
        words = sum(int(batch.real.sum()) for batch in batches)
        tokens, stopped = distributed.totals(place, words, stop)
        found = learner.backward(self.objective, batches, tokens, progress.epoch)
        loss, *sums = distributed.totals(place, *found)
        norm = learner.clip()
        if not math.isfinite(loss + norm):
            self._refuse(batches, loss, norm, rates["decoder"])
        learner.step()
        self._advance(loss, sums, norm, rates["decoder"], len(batches))
        return stopped > 0

    def validate(self) -> bool:
        """Score the validation split; whether it is the best so far."""
        progress, place, kept = self.progress, self.place, self.learner.kept
        store, options = self.store, DecodeOptions(beam=1)
        distributed.share_buffers(place, kept)
        if progress.finetune:
            rows, workers = share(self.data, "val", place), self.config.workers
            store = pictures.see(kept.sight, self.data, rows, workers, place.device)
        found = validate(kept.decoder, self.data, store, "val", options, place)
        better = found.scores["CIDEr-D"] > progress.best
        progress.stale = 0 if better else progress.stale + 1
        progress.best = max(found.scores["CIDEr-D"], progress.best)
        self.journal.validated(progress, found, self.data.labels.records)
        if better and place.rank == 0:
            self._write_model(found)
        return better

    def save(self, best: bool) -> None:
        """A checkpoint, from which this run goes on as if it had never stopped."""
        if self.place.rank == 0:
            state = self.learner.state()
            state["progress"] = dataclasses.asdict(self.progress)
            state["config"] = json.loads(self.config.to_json())
            state["vocabulary"] = self.data.labels.vocabulary.sha256
            state["features"] = self._features()
            checkpoint.save(self.config.out, state, self.progress.step, best)
        self.saved = time.monotonic()

    def _claim(self) -> None:
        self.claim.enter_context(run.claim(self.config.out))

    def _open(self) -> None:
        """The run's folder, with its config."""
        if not self.config.resume:
            run.make_way(self.config.out)
            self._claim()
        if self.unscored and not self.progress.step:  # what a killed one wrote counts for nothing
            (self.config.out / "metrics.jsonl").unlink(missing_ok=True)
        write_text(self.config.out / "config.json", self.config.to_json())

    def _start(self) -> None:
        """From nothing, or from the best weights of another run."""
        progress, config = self.progress, self.config
        progress.finetune, progress.critical = due(config, progress, 0)
        if config.start:
            self._adopt(config.start)
        elif progress.finetune:
            self.learner.see(self._sight())

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
            self.learner.see(self._sight())
        self.learner.load(state)

    def _adopt(self, folder: Path) -> None:
        """Begin anew from the best weights of a run. ValueError when they are of another kind."""
        state = self._fitting(folder, "best", SIZES)
        finetune, trained = self.progress.finetune, trained_encoder(kept_weights(state))
        if not trained:
            self._require_features(state, folder, ("encoder", "weights_sha256"))
        elif not finetune:
            raise ValueError(
                f"{folder}: its encoder was trained, so stored features are not what its decoder "
                "reads; add --finetune-after 0 (and --encoder-learning-rate 0 to leave it as it is)"
            )
        try:
            self.learner.adopt(state, self._sight() if finetune else None)
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

    def _sight(self) -> Sight:
        """The encoder that stored features came from, ready to be trained."""
        config = self.config
        encoder = run.encoder_of(config.data, self.data.features)
        learned = self.data.features.provenance.weights != "none"
        sight = Sight(encoder, self.side, config.finetune_layers, learned).to(self.place.device)
        if config.save_memory:
            checkpoint_blocks(sight.network)
        return sight

    def _settle(self) -> None:
        """What a stage reads and minimises: stored features where the encoder is frozen."""
        config, device, progress = self.config, self.place.device, self.progress
        if progress.finetune:
            self.store = None
        elif self.store is None:
            regions = self.learner.network.decoder.needs_regions
            self.store = FeatureStore(self.data.features, regions, config.features_in, device)
            if self.place.rank == 0:
                print(self.store.where, file=sys.stderr)
        self.captions = CaptionSet(
            self.data, self.store, "train", config.captions_per_image, config.seed, device
        )
        self.objective = objective(progress.critical, config, self.data, device)
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
        samples = Statistics(*progress.sums).means() if progress.critical else {}
        self.journal.stepped(progress, norm, rate, progress.cursor - before, samples)

    def _refuse(self, batches: list[Batch], loss: float, norm: float, rate: float) -> None:
        ids = [self.data.labels.records[row].id for batch in batches for row in batch.rows]
        raise RuntimeError(
            f"step {self.progress.step}: not finite (loss {loss}, gradient's norm {norm}); "
            f"learning rate {rate:g}, images {ids}; no weight has moved, and the last good "
            f"checkpoint is in {self.config.out}"
        )

    def _write_model(self, found: Validation) -> None:
        config, kept = self.config, self.learner.kept
        about = {
            "config": json.loads(config.to_json()),
            "data": self.data.labels.images_sha256,
            "validation": {**found.scores, "epoch": self.progress.epoch},
        }
        if kept.sight is None:
            encoder = run.kept_of(config.data, self.data.features)
        else:
            encoder = run.kept_of_trained(kept.sight.encoder)
        words = self.data.labels.vocabulary.words
        path = config.out / "model.safetensors"
        write_model(path, kept.decoder, words, *encoder, self.side, DecodeOptions(), about)
        run.name_latest(config.out)
