"""Recipes: hyperparameters of training by name, and the learning rate at an iteration.

In: a recipe's name and changes to it. Out: a Recipe; learning_rate(recipe, step, steps_per_epoch).
"imagenet" and "cifar" are fb.resnet.torch's, "inception" is torch-inception-resnet-v2's, "modern"
follows torchvision's newer references, "small" is for thousands of images, not a million, and
"captions" is for images with many labels each (prepro/pretraining/multilabel.py).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum; lr is for a batch of `batch` images over all processes."""

    epochs: int
    batch: int
    lr: float
    schedule: Literal["steps", "exponential", "cosine"]
    augment: Literal["imagenet", "cifar", "modern", "none"]
    milestones: tuple[int, ...] = ()
    """schedule "steps": epochs, counted from 1, at whose start lr falls to a tenth"""
    step: int = 0
    gamma: float = 1.0
    """schedule "exponential": lr is multiplied by `gamma` after every `step` iterations"""
    warmup: int = 0
    """schedule "cosine": epochs of linear warm-up"""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_all: bool = True
    """whether weight decay applies to BatchNorm and biases too, as in fb.resnet.torch"""
    smoothing: float = 0.0
    mix: float = 0.0
    """alpha of MixUp's Beta distribution; MixUp and CutMix alternate at random; 0: neither"""
    ema: float = 0.0
    """decay of the moving average of the weights, which is then evaluated and exported; 0: none"""

    def eval_transform_options(self) -> dict:
        """Fields of the evaluation's Transform: fb.resnet.torch resizes and rounds differently."""
        if self.augment == "imagenet":
            return {"interpolation": "bicubic", "rounding": "ceil"}
        return {}


RECIPES = {
    "imagenet": Recipe(90, 256, 0.1, "steps", "imagenet", milestones=(31, 61)),
    "cifar": Recipe(164, 128, 0.1, "steps", "cifar", milestones=(81, 122)),
    # momentum 0.4737 stands for Caffe's 0.9 with dampening; the published 24.4 % error used it
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


def choose_recipe(name: str, **changes: object) -> Recipe:
    """The recipe with every change that is not None; ValueError for invalid values.

    `step` changes the schedule of any recipe to the exponential one.
    """
    if name not in RECIPES:
        raise ValueError(f"--recipe {name}: choose one of {', '.join(RECIPES)}")
    changes = {key: value for key, value in changes.items() if value is not None}
    if "step" in changes:
        changes["schedule"] = "exponential"
    recipe = replace(RECIPES[name], **changes)
    if "gamma" in changes and recipe.schedule != "exponential":
        raise ValueError(f"--gamma needs --step: recipe {name} does not decay per iteration")
    at_least_one = ("epochs", "batch") + (("step",) if recipe.schedule == "exponential" else ())
    for field in at_least_one:
        if getattr(recipe, field) < 1:
            raise ValueError(f"--{field} {getattr(recipe, field)}: expected at least 1")
    if not 0 < recipe.lr < math.inf:
        raise ValueError(f"--lr {recipe.lr}: expected a positive number")
    return recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate at iteration `step`, counted from 0 over all epochs."""
    if recipe.schedule == "steps":
        epoch = step // steps_per_epoch + 1
        return recipe.lr * 0.1 ** sum(epoch >= start for start in recipe.milestones)
    if recipe.schedule == "exponential":  # torch-inception-resnet-v2 counts iterations from 1
        return recipe.lr * recipe.gamma ** ((step + 1) // recipe.step)
    warmup, total = (epochs * steps_per_epoch for epochs in (recipe.warmup, recipe.epochs))
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
