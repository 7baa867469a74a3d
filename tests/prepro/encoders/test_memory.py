"""Checkpointing and frozen BatchNorm: the same gradients, fewer bytes; counted without a GPU."""

import pytest
import torch
from torch import nn

from prepro.encoders import create_network
from prepro.encoders.memory import FrozenBatchNorm, checkpoint_blocks, freeze_norms
from prepro.runtime.precision import autocast, reduced_precision
from tests.bench.memory import peak


def trained(network, steps=2):
    """Gradients and buffers after some steps of training on fixed pictures."""
    torch.manual_seed(0)
    for _ in range(steps):
        network.zero_grad()
        network(torch.randn(3, 3, 48, 48)).square().mean().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return gradients, dict(network.named_buffers())


@pytest.mark.parametrize("name", ["resnet10-w16", "preresnet14", "resnet14-C"])
def test_checkpointing_changes_neither_gradients_nor_statistics(name):
    torch.manual_seed(1)
    plain, checkpointed = create_network(name).train(), create_network(name).train()
    checkpointed.load_state_dict(plain.state_dict())
    expected = trained(plain)
    found = trained(checkpoint_blocks(checkpoint_blocks(checkpointed)))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert checkpointed.layer1[0].bn2.num_batches_tracked == 2


def test_checkpointing_an_inception_block():
    torch.manual_seed(1)
    network = create_network("inception_resnet_v2_paper").stages()[2][0].train()
    x = torch.randn(2, 2048, 3, 3)
    state = {k: t.clone() for k, t in network.state_dict().items()}
    network(x).square().mean().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    after = {k: t.clone() for k, t in network.state_dict().items()}
    network.load_state_dict(state)
    network.zero_grad()

    class Holder(nn.Module):
        def stages(self):
            return [nn.Sequential(network)]

    checkpoint_blocks(Holder())
    network(x).square().mean().backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), expected, strict=True))
    assert all(torch.equal(t, after[k]) for k, t in network.state_dict().items())


def test_a_frozen_batchnorm_is_batchnorm_in_evaluation():
    torch.manual_seed(0)
    network = create_network("resnet10-w16")
    trained(network.train())
    x = torch.randn(2, 3, 64, 64)
    expected, names = network.eval()(x), list(network.state_dict())
    frozen = freeze_norms(network).train()
    assert torch.allclose(frozen(x), expected, atol=1e-5)
    assert list(frozen.state_dict()) == names
    assert sum(isinstance(module, FrozenBatchNorm) for module in frozen.modules()) == 12
    assert not any("bn" in name for name, _ in frozen.named_parameters())


def test_bytes_of_a_training_step():
    """encoders of 50 layers, batch 32 at 224: published peaks are 2,636, 1,069 and 1,320 MiB."""
    stock, blocks, norms = (peak("resnet50", 32, kind) for kind in ("stock", "blocks", "norms"))
    assert stock.peak == pytest.approx(2636 * 2**20, rel=0.03)
    assert blocks.peak < 0.45 * stock.peak
    assert norms.peak < 0.55 * stock.peak
    assert stock.peak - stock.saved < 2 * 32 * 64 * 112 * 112 * 4  # twice the largest activation


def test_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for capable in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda c=capable: c)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert reduced_precision(cpu) is (torch.bfloat16 if capable else None)
        with autocast(cpu):
            assert torch.is_autocast_enabled("cpu") is capable
