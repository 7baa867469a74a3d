"""Train a decoder on the features and captions of a data folder.

    python -m caption.train --data data/coco --out runs/topdown --preset topdown
    torchrun --nproc-per-node 8 -m caption.train ...            the same run on eight GPUs
    python -m caption.train --preset scst --start runs/topdown  self-critical training of that run

In: labels.json, labels.h5 and features.h5. Out: RUN/config.json, metrics.jsonl, curves.png,
step-N.pt with last.json and best.json, and model.safetensors, which alone is enough to caption
images. A run that was stopped continues with --resume, on a CPU bit for bit.
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
    config = from_command_line(sys.argv[1:])
    if "--print-config" in sys.argv[1:]:
        print(config.to_json(), end="")
        return 0
    from caption.training.setup import open_trainer
    from prepro.runtime import distributed

    context = distributed.init_distributed(config.device)
    with distributed.report_lost_processes(context):
        return train(open_trainer(config, context))


def train(trainer: "Trainer") -> int:
    """The training loop: epochs of steps, with a validation and a checkpoint after each epoch."""
    from caption.training.start_message import opening_lines
    from prepro.runtime import distributed, signals

    config, progress = trainer.config, trainer.progress
    with trainer, signals.trap_signals() as signal:
        trainer.log.print(opening_lines(trainer))
        if config.start and not progress.is_validated:
            trainer.save(best=trainer.validate())
        for epoch in range(progress.epoch, config.epochs):
            if not trainer.enter_epoch(epoch):
                break
            for batches in trainer.epoch(epoch):
                if trainer.update(batches, signal.status):
                    return _stop(trainer, signal.status)
                if time.monotonic() - trainer.last_save > SAVE_EVERY:
                    trainer.save(best=False)
            trainer.finish_epoch(epoch)
            if any(distributed.all_sum(trainer.context, signal.status)):
                return _stop(trainer, signal.status)
    if trainer.context.rank == 0:
        print(f"{config.out}: best validation CIDEr-D {progress.best:.4f}")
    distributed.shutdown_distributed()
    return 0


def _stop(trainer: "Trainer", status: int) -> int:
    """Save and print the command that resumes. Returns the exit status."""
    trainer.save(best=False)
    if trainer.context.rank == 0:
        trainer.log.print(f"stopped; continue with: {trainer.resume_command}")
    return status or 128 + 15


if __name__ == "__main__":
    sys.exit(command.finish(main))
