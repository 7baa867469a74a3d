"""The folder of a training run: its journal, its checkpoint, the encoder that it made.

In: what happens. Out: DIR/metrics.jsonl (prepro.curves draws it), DIR/last.pt (tensors and plain
values; loaded with weights_only), DIR/encoder.safetensors; and the same news on stderr, in
fb.resnet.torch's words, which its tools can read.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from eval.files import whole_file
from prepro.pretraining.state import Training


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def encoder(self) -> Path:
        return self.path / "encoder.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.pt"

    @property
    def journal(self) -> Path:
        return self.path / "metrics.jsonl"

    def progress(
        self, at: tuple[int, int, int], means: dict, lr: float, seconds: tuple[float, float]
    ) -> None:
        """A window of iterations: at (epoch, iteration, iterations an epoch), seconds a batch."""
        epoch, number, count = at
        self._write({"epoch": epoch - 1 + number / count, "lr": lr, "train": means})
        errors = _spell({key: value for key, value in means.items() if key != "loss"})
        time, data = seconds
        print(
            f" | Epoch: [{epoch}][{number}/{count}]    Time {time:.3f}  Data {data:.3f}  "
            f"Err {means['loss']:1.4f}  {errors}",
            file=sys.stderr,
        )

    def finished(self, epoch: int, means: dict) -> None:
        """An evaluation after `epoch` epochs."""
        self._write({"epoch": epoch, "val": means})
        errors = {key: value for key, value in means.items() if key != "loss"}
        print(f" * Finished epoch # {epoch}     {_spell(errors, colon=':')}", file=sys.stderr)

    def _write(self, row: dict) -> None:
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save(self, training: Training, meant: dict) -> None:
        """Everything that a resumed run needs; meant: what the run was asked for."""
        state = {name: part.state_dict() for name, part in training.parts().items()}
        state |= {"epoch": training.epoch, "best": training.best, "meant": meant}
        with whole_file(self.checkpoint) as partial:
            torch.save(state, partial)

    def load(self, training: Training, meant: dict) -> None:
        """Restore what save wrote. Raises ValueError where the run was asked for something else."""
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.checkpoint}: nothing to resume from") from None
        changed = [key for key, value in meant.items() if state["meant"].get(key) != value]
        if changed:
            was = ", ".join(f"{key} {state['meant'].get(key)}" for key in changed)
            raise ValueError(f"{self.checkpoint} was trained with {was}; resume with the same")
        for name, part in training.parts().items():
            part.load_state_dict(state[name])
        training.epoch, training.best = state["epoch"], state["best"]
        self._forget_after(training.epoch)

    def _forget_after(self, epoch: int) -> None:
        """Drop what the journal says of an epoch that the checkpoint does not have."""
        rows = [json.loads(line) for line in self.journal.read_text().splitlines()]
        kept = [json.dumps(row) + "\n" for row in rows if row["epoch"] <= epoch]
        with whole_file(self.journal) as partial:
            partial.write_text("".join(kept))


def _spell(errors: dict, colon: str = "") -> str:
    return "  ".join(f"{name}{colon} {value:7.3f}" for name, value in errors.items())
