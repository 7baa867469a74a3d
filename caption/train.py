"""Train a decoder: features and captions in, a run with its best model out.

    python -m caption.train --data data/coco --out runs/topdown --preset topdown
    torchrun --nproc-per-node 8 -m caption.train ...    the same run on eight GPUs
    python -m caption.train --preset scst --start runs/topdown
        self-critical training from a finished run's best; --scst-after 25 does it in the same run

Out: RUN/config.json, metrics.jsonl, curves.png, step-N.pt with last.json and best.json, and
model.safetensors, which alone is enough to caption pictures. A run stopped at any step goes on
with --resume as if it had never stopped, bit for bit on a CPU.
"""

import sys
import time
from typing import TYPE_CHECKING

from caption.presets import from_command_line
from eval import command

if TYPE_CHECKING:
    from caption.training.trainer import Trainer

SAVE_EVERY = 600  # seconds between checkpoints inside an epoch


def main() -> int:
    argv = sys.argv[1:]
    show = "--print-config" in argv
    config = from_command_line([word for word in argv if word != "--print-config"])
    if show:
        print(config.to_json(), end="")
        return 0
    from caption.training.trainer import Trainer
    from prepro.runtime import distributed

    context = distributed.init_distributed(config.device)
    with distributed.report_lost_processes(context):
        return train(Trainer(config, context))


def train(trainer: "Trainer") -> int:
    """The loop: epochs of steps, a validation and a checkpoint after each."""
    from prepro.runtime import distributed, signals

    config, progress = trainer.config, trainer.progress
    with trainer.lock, trainer.log, signals.trap_signals() as asked:
        if config.start and trainer.unscored:
            trainer.save(best=trainer.validate())
        for epoch in range(progress.epoch, config.epochs):
            if not trainer.enter_epoch(epoch):
                break
            for batches in trainer.epoch(epoch):
                if trainer.update(batches, asked.status):
                    return _stop(trainer, asked.status)
                if time.monotonic() - trainer.saved > SAVE_EVERY:
                    trainer.save(best=False)
            trainer.save(best=trainer.validate())
            if any(distributed.all_sum(trainer.context, asked.status)):
                return _stop(trainer, asked.status)
    if trainer.context.rank == 0:
        print(f"{config.out}: CIDEr-D {progress.best:.4f} at its best validation")
    distributed.shutdown_distributed()
    return 0


def _stop(trainer: "Trainer", status: int) -> int:
    """Save, say how to go on; the exit status."""
    trainer.save(best=False)
    if trainer.context.rank == 0:
        print(f"stopped; go on with: {trainer.resume_command}", file=sys.stderr)
    return status or 128 + 15


if __name__ == "__main__":
    sys.exit(command.finish(main))
