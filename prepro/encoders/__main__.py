"""List every encoder: parameters, multiply-adds, feature width and regions, weights by name.

In: nothing, or names. Out: a table on stdout, or JSON.

    python -m prepro.encoders
    python -m prepro.encoders resnet50 inception_resnet_v2 --json
"""

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command
from prepro.encoders.registry import TABLE, base, construct, find

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Options:
    """List the encoders, or describe some.

    Example: python -m prepro.encoders resnet50 resnet10-w32 --json
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """names to describe; without any, the whole table"""
    json: bool = False
    """a JSON list instead of a table"""


def main(options: Options) -> None:
    for name in options.names:
        find(name)  # what is misspelled is said before anything else
    rows = map(describe, options.names or TABLE)
    if options.json:
        print(json.dumps(list(rows), indent=1))
        return
    print(f"{'encoder':<24} {'parameters':>11} {'multiply-adds':>14}  at   width regions  weights")
    for row in rows:
        print(
            f"{row['name']:<24} {row['parameters']:>11,} {row['macs'] / 1e9:>12.3f} G  "
            f"{row['size']:<4} {row['width']:>5} {row['regions']:>7}  {', '.join(row['weights'])}",
            flush=True,
        )


def describe(name: str) -> dict:
    """Counts of an encoder at its own size, without allocating its weights."""
    import torch

    from prepro.encoders.pretrained import published

    entry = find(name)
    size = entry.transform.crop
    with torch.device("meta"):
        network = construct(entry).eval()
    (_, width, height, across), macs = measure(network, size)
    weights = published(base(name), entry.transform) if entry.published else []
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs,
        "size": size,
        "width": width,
        "regions": height * across,
        "weights": [row.name for row in weights],
    }


def measure(network: "nn.Module", size: int) -> tuple[tuple[int, ...], int]:
    """Of a meta network: the last map's shape for one picture of `size` pixels a side, and the
    multiply-adds of convolutions and classifier.
    """
    import torch
    from torch import nn

    counts = [network.get_submodule(network.classifier).weight.numel()]

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        counts.append(output.numel() * module.weight[0].numel())

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        grid = network.features(torch.empty(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return tuple(grid.shape), sum(counts)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
