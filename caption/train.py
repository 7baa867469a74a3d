"""Train a decoder: features and captions in, a run with its best model out.

    python -m caption.train --data data/coco --out runs/topdown --preset topdown

Out: RUN/config.json, metrics.jsonl, curves.png, step-N.pt with last.json and best.json, and
model.safetensors, which alone is enough to caption pictures. A run stopped at any step goes on
with --resume as if it had never stopped, bit for bit on a CPU.
"""

import sys
from pathlib import Path

from caption.config import TrainConfig, from_command_line
from eval import command


def main() -> int:
    argv = sys.argv[1:]
    show = "--print-config" in argv
    config = from_command_line([word for word in argv if word != "--print-config"])
    if show:
        print(config.to_json(), end="")
        return 0
    from caption.trainer import Trainer

    _check_out(config)
    return train(Trainer(config))


def train(trainer) -> int:
    """The loop: epochs of steps, a validation and a checkpoint after each."""
    config, progress = trainer.config, trainer.progress
    with trainer.stoppable() as stop:
        for epoch in range(progress.epoch, config.epochs):
            trainer.model.train()
            for batches in trainer.epoch(epoch):
                trainer.update(batches)
                if stop.status:
                    trainer.save(best=False)
                    print(f"stopped; go on with: {trainer.resume_command}", file=sys.stderr)
                    return stop.status
            best = trainer.validate()
            trainer.save(best)
            if config.patience and progress.stale >= config.patience:
                break
    print(f"{config.out}: CIDEr-D {progress.best:.4f} at its best validation")
    return 0


def _check_out(config: TrainConfig) -> None:
    """A run is neither overwritten nor resumed by accident."""
    begun = (config.out / "last.json").is_file()
    if config.resume and not begun:
        raise FileNotFoundError(f"{config.out}/last.json: nothing to resume; leave out --resume")
    if not config.resume and begun:
        _set_aside(config.out)


def _set_aside(run: Path) -> None:
    """Move a finished run to NAME.1, NAME.2, ...: nothing is lost."""
    number = next(n for n in range(1, 10_000) if not run.with_name(f"{run.name}.{n}").exists())
    run.rename(run.with_name(f"{run.name}.{number}"))
    print(f"{run}: moved the earlier run to {run}.{number}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(command.finish(main))
