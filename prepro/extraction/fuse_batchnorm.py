"""A frozen network without BatchNorm: each one is fused into the convolution before it.

In: an encoder's network. Out: a module from images (B, 3, H, W) to the last map (B, D, h, w).
On a CPU, a fused ResNet-101 in channels_last processes half as many images again per second.
"""

import copy

from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class FeatureMap(nn.Module):
    """network.features as the forward of a module, which torch.fx can trace."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)


def fuse_conv_bn(network: nn.Module) -> fx.GraphModule:
    """A copy, for inference only, without the BatchNorms that follow a convolution.

    Equal to `network.features` up to rounding. A BatchNorm that precedes its convolution remains.
    """
    traced = fx.symbolic_trace(FeatureMap(copy.deepcopy(network)).eval())
    modules = dict(traced.named_modules())
    for norm in traced.graph.nodes:
        conv = norm.args[0] if norm.args else None
        if not (_is_call(norm, nn.BatchNorm2d, modules) and _is_call(conv, nn.Conv2d, modules)):
            continue
        if len(conv.users) > 1 or not modules[norm.target].track_running_stats:
            continue
        fused = fuse_conv_bn_eval(modules[conv.target], modules[norm.target])
        traced.set_submodule(conv.target, fused)
        modules[conv.target] = fused
        norm.replace_all_uses_with(conv)
        traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _is_call(node: object, kind: type[nn.Module], modules: dict[str, nn.Module]) -> bool:
    """Whether a node of the graph calls a module of exactly this type."""
    return (
        isinstance(node, fx.Node)
        and node.op == "call_module"
        and type(modules[node.target]) is kind
    )
