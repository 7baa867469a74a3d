"""Learning rates against the published tables, and refused values."""

import math

import pytest

from prepro.pretraining.recipes import RECIPES, choose_recipe, learning_rate


def rates_of_epoch(recipe, epoch, per_epoch=7):
    """The rate at the first and at the last iteration of an epoch, which is counted from 1."""
    first = (epoch - 1) * per_epoch
    return {learning_rate(recipe, step, per_epoch) for step in (first, first + per_epoch - 1)}


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("imagenet", {1: 0.1, 30: 0.1, 31: 0.01, 60: 0.01, 61: 0.001, 90: 0.001}),
        ("cifar", {1: 0.1, 80: 0.1, 81: 0.01, 121: 0.01, 122: 0.001, 164: 0.001}),
    ],
)
def test_schedule_by_epochs(name, rates):
    for epoch, expected in rates.items():
        assert all(r == pytest.approx(expected) for r in rates_of_epoch(RECIPES[name], epoch))


def test_schedule_by_iterations_as_published():
    recipe, per_epoch = RECIPES["inception"], math.ceil(1281167 / 64)
    assert per_epoch == 20019 and per_epoch * 90 == 1801710
    assert learning_rate(recipe, 12798, per_epoch) == 0.045
    assert learning_rate(recipe, 12799, per_epoch) == pytest.approx(0.045 * 0.96)  # the 12,800th
    assert learning_rate(recipe, 1801709, per_epoch) == pytest.approx(0.045 * 0.96**140)
    assert learning_rate(recipe, 1801709, per_epoch) == pytest.approx(1.483e-4, rel=1e-3)
    equivalent = choose_recipe("inception", step=80076, gamma=0.94, epochs=300)
    assert equivalent.step == 4 * per_epoch
    assert learning_rate(equivalent, 80075, per_epoch) == pytest.approx(0.045 * 0.94)


def test_step_changes_any_recipe_to_per_iteration_decay():
    recipe = choose_recipe("small", step=100, gamma=0.9)
    assert (
        learning_rate(recipe, 98, 7) == recipe.lr
        and learning_rate(recipe, 99, 7) == recipe.lr * 0.9
    )
    with pytest.raises(ValueError, match="--gamma needs --step"):
        choose_recipe("small", gamma=0.9)


def test_cosine_schedule_with_warm_up():
    recipe = choose_recipe("modern", lr=1.0, epochs=10)
    assert [learning_rate(recipe, step, 2) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
    assert learning_rate(recipe, 15, 2) == pytest.approx(0.5)
    falling = [learning_rate(recipe, step, 2) for step in range(9, 20)]
    assert falling == sorted(falling, reverse=True) and 0 < falling[-1] < 0.05


def test_published_settings():
    for name, epochs, batch, decay in (("imagenet", 90, 256, 1e-4), ("cifar", 164, 128, 1e-4)):
        recipe = RECIPES[name]
        assert (recipe.epochs, recipe.batch, recipe.weight_decay) == (epochs, batch, decay)
        assert recipe.momentum == 0.9 and recipe.decay_all
    inception = RECIPES["inception"]
    assert (inception.momentum, inception.batch, inception.epochs) == (0.4737, 64, 90)
    assert inception.weight_decay == 1e-4 and inception.decay_all


def test_the_modern_recipe_has_torchvisions_regularisation():
    """references/classification: --label-smoothing 0.1 --mixup-alpha 0.2 --weight-decay 2e-5
    --norm-weight-decay 0 --lr-warmup-epochs 5, and an average of the weights."""
    recipe = RECIPES["modern"]
    assert (recipe.smoothing, recipe.mix, recipe.weight_decay) == (0.1, 0.2, 2e-5)
    assert (recipe.decay_all, recipe.warmup) == (False, 5) and 0.999 < recipe.ema < 1
    linear = 0.1 * recipe.batch / 256  # Goyal et al. 2017, arXiv 1706.02677
    assert recipe.lr == pytest.approx(linear)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs 0: expected at least 1"),
        ({"batch": 0}, "batch 0: expected at"),
        ({"step": 0}, "step 0: expected at least 1"),
        ({"lr": -1.0}, "lr -1.0: expected a pos"),
        ({"lr": 0.0}, "lr 0.0"),
        ({"lr": math.inf}, "lr inf"),
        ({"lr": math.nan}, "lr nan"),
    ],
)
def test_invalid_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        choose_recipe("small", **changes)
    with pytest.raises(ValueError, match="--recipe tiny: choose one of imagenet, cifar"):
        choose_recipe("tiny")


def test_ones_are_allowed_and_what_is_not_given_stays():
    recipe = choose_recipe("inception", epochs=1, batch=1, step=1, gamma=0.5, lr=None)
    assert (recipe.epochs, recipe.batch, recipe.step, recipe.lr) == (1, 1, 1, 0.045)
    assert [learning_rate(recipe, step, 9) / 0.045 for step in range(3)] == [0.5, 0.25, 0.125]
    assert choose_recipe("inception", gamma=0.9).step == 12800
    # no mixing, smoothing or averaging where a recipe names none
    assert (recipe.mix, recipe.smoothing, recipe.ema) == (0, 0, 0)


def test_cosine_falls_over_the_epochs_after_the_warm_up():
    recipe = choose_recipe("captions", epochs=3, lr=1.0)
    rates = [learning_rate(recipe, step, 4) for step in range(12)]
    expected = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, *expected])
    assert not recipe.decay_all and recipe.weight_decay == 1e-4


def test_a_training_of_the_warm_up_alone():
    recipe = choose_recipe("small", epochs=2, lr=1.0)
    assert [learning_rate(recipe, step, 2) for step in range(4)] == [0.25, 0.5, 0.75, 1]
