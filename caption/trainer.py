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
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from caption import checkpoint, distributed, journal, models, optim, pictures, run
from caption.captioner import write_model
from caption.config import TrainConfig
from caption.data import Batch, CaptionSet, DataFolder
from caption.decode_options import DecodeOptions
from caption.distributed import Place
from caption.losses import cross_entropy
from caption.network import Network, Sight
from caption.stages import FINETUNE, due, stages
from caption.store import FeatureStore, Store
from caption.validate import Validation, share, validate
from eval.files import write_text
from prepro.encoders.memory import autocast, checkpoint_blocks

ALPHA = {"show_attend_tell": 1.0}  # weight of the doubly stochastic term, its paper's code's


@dataclass
class Progress:
    """Where a run stands; plain numbers, saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    cursor: int = 0
    """images of this epoch that are done"""
    best: float = float("-inf")
    """CIDEr-D of the best validation"""
    stale: int = 0
    """validations of this stage since then"""
    stage: int = 0
    begun: int = 0
    """epoch when this stage began"""
    loss: float = 0.0
    """sum over the steps since the last line of the journal"""
    steps: int = 0


class Trainer:
    def __init__(self, config: TrainConfig, place: Place) -> None:
        self.config, self.place = config, place
        self.data = DataFolder.open(config.data)
        torch.manual_seed(config.seed)
        provenance = self.data.features.provenance
        shape = models.Shape(
            self.data.labels.vocabulary.classes, provenance.dim, config.embedding, config.hidden,
            config.layers, dropout=config.dropout,
            regions=provenance.regions if self.data.features.count is None else 0,  # a grid, a set
        )  # fmt: skip
        self.decoder = models.build(config.decoder, shape).to(place.device)
        self.side = math.isqrt(provenance.regions) if self.decoder.needs_regions else 0
        self.network = Network(self.decoder)
        self.optimizer = optim.build(self.decoder, config)
        self.average = self._averaged(self.network)
        self.progress = Progress()
        self.store: Store | None = None
        self.saved = time.monotonic()
        self._wire()
        if config.resume and (config.out / "last.json").is_file():
            self._restore()
        self.sided = pictures.sided_captions(self.data.labels)
        self._collect()
        if place.rank == 0:
            write_text(config.out / "config.json", config.to_json())
        distributed.totals(place, 0)  # nobody goes on before the folder is there
        self.journal = journal.Journal(config, place.rank == 0, len(self.captions), self.progress)

    @property
    def resume_command(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        return f"python -m caption.train {shlex.join([*words, '--resume'])}"

    @property
    def kept(self) -> Network:
        """What is validated and kept: the average of the weights where there is one."""
        return self.average.module if self.average else self.network

    @property
    def stage(self) -> str:
        return stages(self.config)[self.progress.stage].name

    def enter_epoch(self, epoch: int) -> bool:
        """Begin the stage that trains this epoch, if it is another; False when training is over."""
        progress = self.progress
        number = due(self.config, progress.stage, epoch, progress.stale)
        if number is None:
            return False
        if number != progress.stage:
            progress.stage, progress.begun, progress.stale = number, epoch, 0
            self._wire()
            self._collect()
        self.network.train()
        return True

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """The batches of each remaining step of this epoch."""
        config, progress = self.config, self.progress
        if progress.epoch != number:
            progress.epoch, progress.cursor = number, 0
        at = (number, config.batch_size, progress.cursor, self.place)
        if self.stage == FINETUNE:
            plan, labels = list(self.captions.picks(*at)), self.data.labels
            transform = self.network.sight.encoder.transform
            read = pictures.Augmented(labels, transform, plan, self.sided, config.seed, number)
            batches = pictures.batches(self.captions, read, config.workers, self.place.device)
        else:
            batches = self.captions.epoch(*at)
        while group := list(itertools.islice(batches, config.accumulate)):
            yield group

    def loss(self, batch: Batch, tokens: float) -> Tensor:
        """What this stage minimises, divided by the step's `tokens`."""
        feed = optim.feed_probability(self.config, self.progress.epoch)
        alpha = ALPHA.get(self.config.decoder, 0.0)
        smoothing = self.config.label_smoothing
        return self.parallel(cross_entropy, batch, tokens, smoothing, feed, alpha)

    def update(self, batches: list[Batch], stop: int = 0) -> bool:
        """One step of the optimiser; whether any process was asked to `stop`.

        RuntimeError, before a weight moves, when the loss or a gradient is not finite.
        """
        progress, place = self.progress, self.place
        rates = optim.learning_rates(self.config, progress.step, progress.epoch, progress.begun)
        optim.set_rates(self.optimizer, rates)
        distributed.seed_step(self.config.seed, progress.step, place.rank)
        words = sum(int(batch.real.sum()) for batch in batches)
        tokens, stopped = distributed.totals(place, words, stop)
        self.optimizer.zero_grad(set_to_none=True)
        loss = sum(self._backward(batch, tokens, batch is batches[-1]) for batch in batches)
        (loss,) = distributed.totals(place, float(loss))
        norm = optim.clip(self.network.parameters(), self.config)
        if not math.isfinite(loss + norm):
            self._refuse(batches, loss, norm, rates["decoder"])
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)
        self._advance(loss, norm, rates["decoder"], len(batches))
        return stopped > 0

    def validate(self) -> bool:
        """Score the validation split; whether it is the best so far. Ends the epoch."""
        progress, place = self.progress, self.place
        progress.epoch, progress.cursor = progress.epoch + 1, 0
        store, options = self.store, DecodeOptions(beam=1)
        if self.stage == FINETUNE:
            rows, workers = share(self.data, "val", place), self.config.workers
            store = pictures.see(self.kept.sight, self.data, rows, workers, place.device)
        found = validate(self.kept.decoder, self.data, store, "val", options, place)
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
            parts = {"model": self.network, "optimizer": self.optimizer, "average": self.average}
            state = {name: part.state_dict() for name, part in parts.items() if part is not None}
            state["progress"] = dataclasses.asdict(self.progress)
            state["config"] = json.loads(self.config.to_json())
            state["vocabulary"] = self.data.labels.vocabulary.sha256
            checkpoint.save(self.config.out, state, self.progress.step, best)
        self.saved = time.monotonic()

    def _averaged(self, network: Network) -> AveragedModel | None:
        if not self.config.ema:
            return None
        return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema))

    def _wire(self) -> None:
        """The encoder, when its turn has come, in front of the decoder; the rest stays."""
        config = self.config
        if self.stage == FINETUNE and self.network.sight is None:
            encoder = run.encoder_of(config.data, self.data.features)
            learned = self.data.features.provenance.weights != "none"
            sight = Sight(encoder, self.side, config.finetune_layers, learned).to(self.place.device)
            if config.save_memory:
                checkpoint_blocks(sight.network)
            self.network.sight = sight
            optim.add_encoder(self.optimizer, sight)
            old, self.average = self.average, self._averaged(self.network)
            if old is not None:
                self.average.module.decoder.load_state_dict(old.module.decoder.state_dict())
                self.average.n_averaged.copy_(old.n_averaged)
        self.parallel = distributed.wrapped(self.network, self.place)

    def _collect(self) -> None:
        """The captions, with stored features where the encoder is frozen."""
        config, device = self.config, self.place.device
        self.store = None
        if self.stage != FINETUNE:
            regions = self.decoder.needs_regions
            self.store = FeatureStore(self.data.features, regions, config.features_in, device)
        self.captions = CaptionSet(
            self.data, self.store, "train", config.captions_per_image, config.seed, device
        )

    def _backward(self, batch: Batch, tokens: float, last: bool) -> Tensor:
        """Add a batch's gradients, and with the last one those of the other processes."""
        world = self.place.world
        if world > 1:
            self.parallel.require_backward_grad_sync = last
        with _precision(self.place.device):
            loss = self.loss(batch, tokens)
        (loss * world).backward()
        return loss.detach()

    def _advance(self, loss: float, norm: float, rate: float, batches: int) -> None:
        progress, before = self.progress, self.progress.cursor
        done = before + self.config.batch_size * batches
        progress.step, progress.cursor = progress.step + 1, min(done, len(self.captions))
        progress.loss, progress.steps = progress.loss + loss, progress.steps + 1
        self.journal.stepped(progress, norm, rate, progress.cursor - before)

    def _refuse(self, batches: list[Batch], loss: float, norm: float, rate: float) -> None:
        ids = [self.data.labels.records[row].id for batch in batches for row in batch.rows]
        raise RuntimeError(
            f"step {self.progress.step}: not finite (loss {loss}, gradient's norm {norm}); "
            f"learning rate {rate:g}, images {ids}; no weight has moved, and the last good "
            f"checkpoint is in {self.config.out}"
        )

    def _write_model(self, found: Validation) -> None:
        config, sight = self.config, self.kept.sight
        about = {
            "config": json.loads(config.to_json()),
            "data": self.data.labels.images_sha256,
            "validation": {**found.scores, "epoch": self.progress.epoch},
        }
        if sight is None:
            encoder = run.kept_of(config.data, self.data.features)
        else:
            encoder = run.kept_of_trained(sight.encoder)
        words = self.data.labels.vocabulary.words
        path = config.out / "model.safetensors"
        write_model(path, self.kept.decoder, words, *encoder, self.side, DecodeOptions(), about)
        run.name_latest(config.out)

    def _restore(self) -> None:
        """Stand where the last checkpoint stood. ValueError when it is of another kind of run."""
        config = self.config
        state = checkpoint.load(config.out)
        config.require_same(TrainConfig.from_dict(state["config"], str(config.out)))
        if state["vocabulary"] != self.data.labels.vocabulary.sha256:
            raise ValueError(
                f"{config.out}: trained with another vocabulary than {self.data.labels.folder}"
            )
        self.progress = Progress(**state["progress"])
        self._wire()
        self.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])


def _precision(device: torch.device) -> contextlib.AbstractContextManager:
    """Mixed precision on a GPU; float32 elsewhere, so that a CPU repeats a run to the bit."""
    return autocast(device) if device.type == "cuda" else contextlib.nullcontext()
