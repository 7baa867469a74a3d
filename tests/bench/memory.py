"""Peak bytes of a training step, counted with fake tensors: no GPU, no arithmetic.

    python -m tests.bench.memory

prints for some networks what checkpointed blocks and frozen BatchNorm leave of the peak.
"""

import sys
import weakref
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prepro.encoders import create_network
from prepro.encoders.memory import checkpoint_blocks, freeze_norms


@dataclass(frozen=True)
class Bytes:
    """Over the weights: at the end of the forward pass, and at most."""

    saved: int
    peak: int


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operators make and that are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.live -= size


def peak(name: str, batch: int, kind: str = "stock", size: int = 224) -> Bytes:
    """kind: "stock", "blocks" (checkpointed) or "norms" (frozen)."""
    with FakeTensorMode():
        network = create_network(name).train()
        if kind == "blocks":
            checkpoint_blocks(network)
        if kind == "norms":
            freeze_norms(network)
        weights = list(network.parameters()) + list(network.buffers())
        pictures = torch.empty(batch, 3, size, size)
        with LiveBytes() as count:
            count.seen |= {tensor.untyped_storage()._cdata for tensor in [*weights, pictures]}
            loss = network(pictures).sum()
            saved = count.live
            for parameter in network.parameters():  # gradients exist with or without savings
                parameter.register_post_accumulate_grad_hook(_drop)
            loss.backward()
    return Bytes(saved, count.peak)


def _drop(parameter: torch.Tensor) -> None:
    parameter.grad = None


def main() -> None:
    print(f"{'network':<28} {'batch':>5} {'stock MiB':>10} {'blocks':>8} {'norms':>8}")
    for name, size in (("resnet18", 224), ("resnet50", 224), ("resnet101", 224)):
        stock, blocks, norms = (
            peak(name, 32, kind, size).peak / 2**20 for kind in ("stock", "blocks", "norms")
        )
        print(f"{name:<28} {32:>5} {stock:>10,.0f} {blocks / stock:>8.2f} {norms / stock:>8.2f}")


if __name__ == "__main__":
    sys.exit(main())
