"""What a training run consists of, and how one step, one validation and one checkpoint are done.

In: a TrainConfig. `caption/train.py` is the loop over it.
"""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from caption import checkpoint, journal, models, optim
from caption.captioner import write_model
from caption.config import TrainConfig
from caption.data import Batch, CaptionSet, DataFolder, FeatureStore
from caption.decode import DecodeOptions
from caption.losses import cross_entropy
from caption.run import encoder_of, name_latest
from caption.validate import validate
from eval.files import write_text
from prepro.device import choose

LOG_EVERY = 25  # steps a line of metrics.jsonl


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
    """validations since then"""
    loss: float = 0.0
    """sum over the steps since the last line of the journal"""
    steps: int = 0


@dataclass
class Stop:
    status: int = 0
    """the exit status that a signal asked for; 0 while none came"""


class Trainer:
    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        device = choose(config.device)
        self.data = DataFolder.open(config.data)
        torch.manual_seed(config.seed)
        shape = models.Shape(
            self.data.labels.vocabulary.classes, self.data.features.provenance.dim,
            config.embedding, config.hidden, config.layers,
            regions=self.data.features.provenance.regions, dropout=config.dropout,
        )  # fmt: skip
        self.model = models.build(config.decoder, shape).to(device)
        self.store = FeatureStore(
            self.data.features, self.model.needs_regions, config.features_in, device
        )
        self.captions = CaptionSet(
            self.data, self.store, "train", config.captions_per_image, config.seed
        )
        self.encoder, self.encoder_tensors = encoder_of(config.data, self.data.features)
        self.optimizer = optim.build(self.model, config)
        self.average = None
        if config.ema:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.progress = Progress()
        config.out.mkdir(parents=True, exist_ok=True)
        if config.resume:
            self._restore()
        write_text(config.out / "config.json", config.to_json())
        self.bar = tqdm(
            total=config.epochs * self.steps_an_epoch, initial=self.progress.step, desc="train",
            unit="step", disable=None, dynamic_ncols=True,
        )  # fmt: skip

    @property
    def steps_an_epoch(self) -> int:
        return -(-len(self.captions) // (self.config.batch_size * self.config.accumulate))

    @property
    def resume_command(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        return " ".join(["python -m caption.train", *words, "--resume"])

    @property
    def judged(self) -> models.Decoder:
        """The decoder that is validated and kept: the average where there is one."""
        return self.average.module if self.average else self.model

    def epoch(self, number: int) -> Iterator[list[Batch]]:
        """The batches of each remaining step of this epoch."""
        self.progress.epoch = number
        batches = self.captions.epoch(number, self.config.batch_size, self.progress.cursor)
        while group := [b for b, _ in zip(batches, range(self.config.accumulate), strict=False)]:
            yield group
        self.progress.epoch, self.progress.cursor = number + 1, 0

    def update(self, batches: list[Batch]) -> None:
        """One step of the optimiser. RuntimeError, before a weight moves, if it is not finite."""
        config, progress = self.config, self.progress
        lr = optim.learning_rate(config, progress.step, progress.epoch)
        feed = optim.feed_probability(config, progress.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        tokens = sum(int(batch.real.sum()) for batch in batches)
        loss = 0.0
        for batch in batches:
            part = cross_entropy(self.model, batch, tokens, config.label_smoothing, feed)
            part.backward()
            loss += float(part.detach())
        try:
            norm = optim.clip(self.model, config)
        except RuntimeError:
            ids = [self.data.labels.records[row].id for b in batches for row in b.rows]
            raise RuntimeError(
                f"step {progress.step}: the loss ({loss}) or its gradient is not finite; learning "
                f"rate {lr:g}, images {ids}; the last good checkpoint is in {config.out}"
            ) from None
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)
        self._record(loss, norm, lr, sum(len(batch.rows) for batch in batches))

    def validate(self) -> bool:
        """Score the validation split; whether it is the best so far."""
        config, progress = self.config, self.progress
        found = validate(
            self.judged, self.data, self.store, "val", DecodeOptions(beam=config.beam)
        )
        self.found, cider = found, found.scores["CIDEr-D"]
        better = cider > progress.best
        progress.stale = 0 if better else progress.stale + 1
        progress.best = max(cider, progress.best)
        journal.append(config.out, {
            "step": progress.step, "epoch": progress.epoch, "val_loss": found.loss,
            "unique": found.unique, **found.scores,
        })  # fmt: skip
        self.bar.set_postfix_str(f"loss {found.loss:.3f} (val), CIDEr-D {cider:.3f}")
        self._show(found)
        return better

    def save(self, best: bool) -> None:
        """A checkpoint; for the best one also model.safetensors and the curves."""
        parts = {"model": self.model, "optimizer": self.optimizer, "average": self.average}
        state = {name: part.state_dict() for name, part in parts.items() if part is not None}
        state |= {
            "progress": dataclasses.asdict(self.progress),
            "config": json.loads(self.config.to_json()),
            "vocabulary": self.data.labels.vocabulary.sha256,
            "torch_rng": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            state["cuda_rng"] = torch.cuda.get_rng_state()
        checkpoint.save(self.config.out, state, self.progress.step, best)
        if best:
            self._write_model()
        if self.progress.cursor == 0:
            journal.draw([self.config.out], self.config.out / "curves.png")

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[Stop]:
        """SIGINT and SIGTERM end the step first; the second one ends at once."""
        stop = Stop()

        def ask(number: int, frame: object) -> None:
            stop.status = 128 + number
            signal.signal(number, old[number])

        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield stop
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            self.bar.close()

    def _record(self, loss: float, norm: float, lr: float, images: int) -> None:
        progress = self.progress
        progress.step += 1
        progress.cursor += images
        progress.loss += loss
        progress.steps += 1
        self.bar.update()
        if progress.step % LOG_EVERY == 0:
            mean = progress.loss / progress.steps
            epoch = progress.epoch + progress.cursor / len(self.captions)
            journal.append(self.config.out, {
                "step": progress.step, "epoch": round(epoch, 4), "loss": mean,
                "learning_rate": lr, "gradient_norm": norm, "time": round(time.time(), 1),
            })  # fmt: skip
            self.bar.set_postfix_str(f"loss {mean:.3f}, lr {lr:.1e}, CIDEr-D {progress.best:.3f}")
            progress.loss, progress.steps = 0.0, 0

    def _show(self, found) -> None:
        """Five captions beside what people wrote, and a warning when captions collapse."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in found.scores.items())
        lines = [f"epoch {self.progress.epoch}  val loss {found.loss:.3f}  {scores}"]
        records = {record.id: record for record in self.data.labels.records}
        some = list(found.sentences.items())[:: max(1, len(found.sentences) // 5)][:5]
        lines += [f"  {text}   | {records[image].captions[0]}" for image, text in some]
        if found.unique < 0.25:
            lines.append(f"  warning: only {found.unique:.0%} of the captions are unique")
        tqdm.write("\n".join(lines), file=sys.stderr)

    def _write_model(self) -> None:
        config = self.config
        about = {
            "config": json.loads(config.to_json()),
            "data": self.data.labels.images_sha256,
            "validation": {"CIDEr-D": self.progress.best, "epoch": self.progress.epoch},
        }
        side = int(self.data.features.provenance.regions**0.5) if self.store.regions else 0
        words = self.data.labels.vocabulary.words
        write_model(
            config.out / "model.safetensors", self.judged, words, self.encoder,
            self.encoder_tensors, side, DecodeOptions(beam=max(3, config.beam)), about,
        )  # fmt: skip
        name_latest(config.out)

    def _restore(self) -> None:
        state = checkpoint.load(self.config.out)
        if state["vocabulary"] != self.data.labels.vocabulary.sha256:
            raise ValueError(f"{self.config.out}: trained with another vocabulary than {self.data.labels.folder}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.progress = Progress(**state["progress"])
        torch.set_rng_state(state["torch_rng"])
        if "cuda_rng" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_rng"])
        journal.rewind(self.config.out, self.progress.step)
