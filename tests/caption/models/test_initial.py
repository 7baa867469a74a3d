"""Untrained decoders: which layers they have, and how wide their weights are spread."""

import pytest
import torch
from torch import nn

from caption import models
from caption.config import TrainConfig
from caption.models import DECODERS, Decoder, Features, Shape
from caption.models.transformer import DeviationNorm, sinusoids

H = 64


def build(name: str, shape: Shape) -> Decoder:
    torch.manual_seed(0)
    return models.build(name, shape).requires_grad_(False)


def test_the_gates_of_topdown_are_four_times_as_wide_as_pytorchs():
    model = build("topdown", Shape(9, 16, H, H))
    widest = float(nn.LSTMCell(H, H).weight_hh.detach().abs().max())
    for layer in (model.from_word, model.from_image, model.from_hidden, model.language):
        assert layer.weight.abs().max() == pytest.approx(4 * widest, rel=0.01)
        assert layer.weight.min() == pytest.approx(-float(layer.weight.max()), rel=0.01)
        assert layer.weight.std() == pytest.approx(4 * widest / 3**0.5, rel=0.02)


def test_a_transformer_begins_as_the_paper_says():
    """Glorot's uniform weights; embeddings that have the variance 1 after they are scaled."""
    model = build("transformer", Shape(300, 48, H, H, heads=2, regions=200))
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) > 8
    for layer in layers:
        limit = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.98 * limit < layer.weight.abs().max() <= limit
    assert model.embed.weight.std() * H**0.5 == pytest.approx(1, rel=0.02)
    assert model.pos_embed.std() == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("name", [n for n, kind in DECODERS.items() if kind.needs_regions])
def test_positions_are_learned_for_the_cells_of_a_grid_only(name):
    shape = Shape(9, 100, H, H, heads=2, regions=49, position_std=0.3)
    assert build(name, shape).pos_embed.std() == pytest.approx(0.3, rel=0.05)
    assert build(name, Shape(9, 100, H, H, heads=2)).pos_embed is None


@pytest.mark.parametrize("name", ["show_tell", "newfc"])
def test_without_attention_there_are_no_positions(name):
    assert build(name, Shape(9, 100, H, H, regions=49)).pos_embed is None


def test_a_shape_has_the_sizes_of_a_training_without_options():
    shape, config = Shape(9, 12), TrainConfig()
    for name in ("embedding", "hidden", "layers", "heads", "dropout", "position_std", "attention"):
        assert getattr(shape, name) == getattr(config, name), name


def test_sizes_that_are_not_given_follow_from_the_others():
    plain = build("transformer", Shape(9, 12, H, H, heads=2, layers=2))
    assert len(plain.encoder) == len(plain.decoder) == 2
    assert plain.encoder[0].feed[0].out_features == 4 * H
    given = Shape(9, 12, H, H, heads=2, layers=1, decoder_layers=3, feed_forward=24, attention=5)
    other = build("transformer", given)
    assert (len(other.encoder), len(other.decoder)) == (1, 3)
    assert other.decoder[2].feed[0].out_features == 24
    for name in ("topdown", "att2in", "adaptive", "show_attend_tell"):
        assert build(name, given).attend.score.in_features == 5
        assert build(name, Shape(9, 12, H, H)).attend.score.in_features == H


def test_the_heads_share_the_hidden_size_evenly():
    for heads, hidden in ((2, 64), (8, 64), (1, 6)):
        build("transformer", Shape(9, 12, hidden, hidden, heads=heads))
    with pytest.raises(ValueError, match="must be a multiple of 6"):
        build("transformer", Shape(9, 12, H, H, heads=3))
    with pytest.raises(ValueError, match="must be a multiple of 4"):  # a head of an odd size
        build("transformer", Shape(9, 12, 6, 6, heads=2))


def test_only_show_attend_and_tell_looks_everywhere_once():
    """Its code weighs the term of section 4.2.1 by 1; the other papers have no such term."""
    weights = {name: kind.doubly_stochastic_weight for name, kind in DECODERS.items()}
    assert weights == dict.fromkeys(DECODERS, 0) | {"show_attend_tell": 1}


def test_sinusoids_begin_anywhere():
    like = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(sinusoids(3, 2, 8, like), sinusoids(0, 5, 8, like)[3:])
    assert torch.allclose(sinusoids(7, 1, 4, like)[0, :2].square().sum(), torch.ones(()).double())


def test_the_norm_of_the_unbiased_deviation():
    norm = DeviationNorm(5, 0.5).requires_grad_(False)
    norm.weight.copy_(torch.arange(1.0, 6))
    norm.bias.copy_(torch.arange(5.0, 0, -1))
    x = torch.tensor([[1.0, 2, 3, 4, 10], [0, 0, 0, 0, 5]])
    for row, found in zip(x.tolist(), norm(x), strict=True):
        mean = sum(row) / 5
        deviation = (sum((value - mean) ** 2 for value in row) / 4) ** 0.5
        expected = [
            (i + 1) * (value - mean) / (deviation + 0.5) + 5 - i for i, value in enumerate(row)
        ]
        assert found.tolist() == pytest.approx(expected)


@torch.no_grad()
@pytest.mark.parametrize("name", ["adaptive", "transformer"])
def test_an_affine_projection_is_a_relu_with_a_scale_and_a_shift(name):
    """With zeros for all but the layer of the regions, these values reach the state."""
    shape = Shape(9, 12, 8, 8, heads=2, layers=0, decoder_layers=1, region_projection="affine")
    model, plain = build(name, shape).eval(), Shape(9, 12, 8, 8, heads=2, layers=0)
    assert not hasattr(build(name, plain), "region_scale")
    model.region_scale.copy_(torch.arange(1.0, 9))
    model.region_shift.copy_(torch.arange(8.0, 0, -1))
    features = Features(torch.randn(2, 12), torch.randn(2, 3, 12))
    expected = model.project(features.att).relu() * torch.arange(1.0, 9) + torch.arange(8.0, 0, -1)
    if name == "transformer":
        expected = model.decoder[0].regions.memory(model.encoded(expected))[..., :8]
    assert torch.allclose(model.begin(features).image[1], expected, atol=1e-6)


@torch.no_grad()
def test_attention_that_costs_extra_is_computed_only_if_it_is_wanted():
    model = build("transformer", Shape(9, 12, 8, 8, heads=2, layers=3)).eval()
    features, tokens = (
        Features(torch.randn(2, 12), torch.randn(2, 3, 12)),
        torch.ones(2, 1, 4).long(),
    )
    assert model.teacher_force(features, tokens).attention is None
    state = model.begin(features)
    assert model.decode_tokens(tokens, state).attention is None
    assert model.step(tokens[..., 0], state).attention.shape == (2, 1, 3)
    assert model.teacher_force(features, tokens, need_attention=True).attention.shape == (8, 3)
