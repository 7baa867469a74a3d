"""Checkpoints of earlier versions load under today's names."""

import torch

from caption.models.compatibility import rename_weights, upgrade_checkpoint


def test_weights_of_earlier_versions_are_renamed() -> None:
    weights = {"places": 1, "decoder.places": 2, "sight.fc.bias": 3, "module.sight.x": 4}
    weights |= {"module.decoder.places": 5, "module.n_averaged": 6, "embed.weight": 7}
    assert rename_weights(weights) == {
        "pos_embed": 1, "decoder.pos_embed": 2, "encoder.fc.bias": 3, "module.encoder.x": 4,
        "module.decoder.pos_embed": 5, "module.n_averaged": 6, "embed.weight": 7,
    }  # fmt: skip


def test_names_of_today_stay() -> None:
    weights = {"pos_embed": 1, "encoder.0.weight": 2, "decoder.sight.weight": 3, "replaces": 4}
    assert rename_weights(weights) == weights


def test_checkpoint_keeps_the_order_of_weights_and_the_optimizer() -> None:
    """Adam's state belongs to parameters by their order."""
    optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"params": [0, 1]}]}
    state = {
        "model": {"decoder.places": 1, "decoder.embed.weight": 2},
        "average": {"module.decoder.places": 3},
        "optimizer": optimizer,
        "progress": {"critical": True, "begun": 4, "step": 5},
    }
    upgraded = upgrade_checkpoint(state)
    assert list(upgraded["model"]) == ["decoder.pos_embed", "decoder.embed.weight"]
    assert upgraded["average"] == {"module.decoder.pos_embed": 3}
    assert upgraded["optimizer"] is optimizer
    assert upgraded["progress"] == {"scst": True, "stage_epoch": 4, "step": 5}
    assert "average" not in upgrade_checkpoint({"model": {}, "progress": {}})
