"""How a network is trained: recipes by name, and the learning rate as a function of the iteration.

In: a recipe's name and what is to be changed in it. Out: a Recipe; rate(recipe, step, per_epoch).
"imagenet" and "cifar" are fb.resnet.torch's, "inception" is torch-inception-resnet-v2's, "modern"
follows torchvision's newer references, "small" is for thousands of pictures, not a million, and
"captions" for pictures with many labels each (prepro/pretraining/multilabel.py).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum; lr is for a batch of `batch` pictures over all processes."""

    epochs: int
    batch: int
    lr: float
    schedule: Literal["steps", "exponential", "cosine"]
    augment: Literal["imagenet", "cifar", "modern", "none"]
    milestones: tuple[int, ...] = ()
    """steps: the epochs, counted from 1, that begin with a tenth of the rate before."""
    step: int = 0
    gamma: float = 1.0
    """exponential: after every `step` iterations the rate is multiplied by `gamma`."""
    warmup: int = 0
    """cosine: epochs of linear rise before the fall."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_all: bool = True
    """Whether BatchNorm and biases decay too, as fb.resnet.torch's did."""
    smoothing: float = 0.0
    mix: float = 0.0
    """Beta(mix, mix) of MixUp, which takes turns with CutMix; 0: neither."""
    ema: float = 0.0
    """Decay a step of the average of weights that is evaluated and kept; 0: none."""

    def reading(self) -> dict:
        """Of an evaluation's Transform: fb.resnet.torch reads its own way."""
        if self.augment == "imagenet":
            return {"interpolation": "bicubic", "rounding": "ceil"}
        return {}


RECIPES = {
    "imagenet": Recipe(90, 256, 0.1, "steps", "imagenet", milestones=(31, 61)),
    "cifar": Recipe(164, 128, 0.1, "steps", "cifar", milestones=(81, 122)),
    # momentum 0.4737 was meant as Caffe's 0.9 with dampening; its 24.4 % error was made with it
    "inception": Recipe(
        90, 64, 0.045, "exponential", "imagenet", step=12800, gamma=0.96, momentum=0.4737
    ),
    "modern": Recipe(
        100, 256, 0.1, "cosine", "modern", warmup=5, weight_decay=2e-5, decay_all=False,
        smoothing=0.1, mix=0.2, ema=0.9998,
    ),
    # no flips: "left of" would be wrong
    "captions": Recipe(10, 16, 0.06, "cosine", "none", warmup=1, decay_all=False),
    "small": Recipe(
        40, 32, 0.05, "cosine", "imagenet", warmup=2, weight_decay=5e-4, decay_all=False,
        smoothing=0.1,
    ),
}  # fmt: skip


def choose(name: str, **changes: object) -> Recipe:
    """The recipe, with every change that is not None; ValueError for values that make no sense.

    A `step` turns any recipe's schedule into the exponential one.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    changes = {key: value for key, value in changes.items() if value is not None}
    if "step" in changes:
        changes["schedule"] = "exponential"
    recipe = replace(RECIPES[name], **changes)
    if "gamma" in changes and recipe.schedule != "exponential":
        raise ValueError(f"--gamma needs --step: recipe {name} has no per-iteration decay")
    at_least_one = ("epochs", "batch") + (("step",) if recipe.schedule == "exponential" else ())
    for field in at_least_one:
        if getattr(recipe, field) < 1:
            raise ValueError(f"{field} {getattr(recipe, field)}: at least 1")
    if not 0 < recipe.lr < math.inf:
        raise ValueError(f"lr {recipe.lr}: a positive number")
    return recipe


def rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """The learning rate of iteration `step`, counted from 0, at `per_epoch` iterations an epoch."""
    if recipe.schedule == "steps":
        epoch = step // per_epoch + 1
        return recipe.lr * 0.1 ** sum(epoch >= start for start in recipe.milestones)
    if recipe.schedule == "exponential":  # lim0606 counts iterations from 1
        return recipe.lr * recipe.gamma ** ((step + 1) // recipe.step)
    rise, total = recipe.warmup * per_epoch, recipe.epochs * per_epoch
    if step < rise:
        return recipe.lr * (step + 1) / rise
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
