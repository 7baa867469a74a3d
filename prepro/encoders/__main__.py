"""List encoders: parameters, multiply-adds, feature width, regions and published weights.

In: names, or nothing for all. Out: a table on stdout, or JSON.

    python -m prepro.encoders
    python -m prepro.encoders resnet50 inception_resnet_v2 --json
"""

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from eval import command
from prepro.encoders.registry import encoder_table, find_spec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Options:
    """List the encoders with their parameters, multiply-adds, regions and published weights.

    Example: python -m prepro.encoders resnet50 resnet10-w32 --json
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """names of encoders to list; all of them by default"""
    json: bool = False
    """print a JSON list instead of a table"""


def main(options: Options) -> None:
    for name in options.names:
        find_spec(name)  # report a misspelled name before the first row
    rows = map(describe, options.names or encoder_table())
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
    """One row of the table, counted at the transform's crop size, without allocating weights."""
    from prepro.runtime.meta_device import meta_device

    spec = find_spec(name)
    size = spec.transform.crop
    with meta_device():
        network = spec.create().eval()
    (_, width, map_height, map_width), macs = measure(network, size)
    weights = spec.published() if spec.published else []
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs,
        "size": size,
        "width": width,
        "regions": map_height * map_width,
        "weights": [row.name for row in weights],
    }


def measure(network: "nn.Module", size: int) -> tuple[tuple[int, ...], int]:
    """The last feature map's shape for a square image of `size` pixels, and the multiply-adds.

    network: on the meta device. Multiply-adds are those of the convolutions and the classifier.
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
