"""Everything that stays the same while a network is trained, and the counts that follow from it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prepro.pretraining.recipes import Recipe

if TYPE_CHECKING:
    from prepro.encoders import Encoder
    from prepro.pretraining.dataset import LabelledImages
    from prepro.pretraining.tasks import Task
    from prepro.runtime.distributed import DistributedContext


@dataclass(frozen=True)
class TrainingSetup:
    """The data, the recipe and the run folder of a training run."""

    recipe: Recipe
    train: "LabelledImages"
    val: "LabelledImages"
    task: "Task"
    context: "DistributedContext"
    folder: Path
    crop: int
    """side of the training crop in pixels; the encoder's transform has that of evaluation"""
    seed: int = 0
    workers: int = 0

    @property
    def batch(self) -> int:
        """Images a batch on this process."""
        return max(1, self.recipe.batch // self.context.world)

    @property
    def images_per_process(self) -> int:
        """Images an epoch on each process."""
        return -(-len(self.train) // self.context.world)

    @property
    def images_per_epoch(self) -> int:
        """Images an epoch over all processes, including repeats that even out the ranks."""
        return self.images_per_process * self.context.world

    @property
    def steps_per_epoch(self) -> int:
        """Iterations an epoch; the last batch may be smaller."""
        return -(-self.images_per_process // self.batch)

    @property
    def log_every(self) -> int:
        """Iterations that a row of metrics.jsonl averages: equal parts of an epoch, about 40."""
        return -(-self.steps_per_epoch // max(1, round(self.steps_per_epoch / 40)))

    def settings(self, encoder: "Encoder") -> dict:
        """The settings that a resumed run must share; plain values."""
        fixed = {"encoder": encoder.name, "classes": list(self.task.names), "seed": self.seed}
        fixed |= {"pictures": len(self.train), "crop": self.crop, "world": self.context.world}
        recipe = {key: _plain(value) for key, value in asdict(self.recipe).items()}
        return fixed | recipe | {"transform": encoder.transform.to_dict()}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
