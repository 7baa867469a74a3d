"""Convolution, sum and activation of a frozen network in one pass of oneDNN, on a CPU.

In: what fuse_batchnorm.fuse_conv_bn returns. Out: the module with its convolutions, and what stands
after them in the patterns convolution + ReLU, convolution + ReLU6 and convolution + sum + ReLU,
replaced. The values stay the same but for rounding. A map is written once, not two or three times,
and oneDNN reorders a weight once, not for every batch.
"""

import operator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

ACTIVATIONS = {
    torch.relu: "relu", torch.relu_: "relu", F.relu: "relu", nn.ReLU: "relu", F.relu6: "relu6",
    nn.ReLU6: "relu6",
}  # fmt: skip
ONEDNN = {"": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}
"""the name and the scalars of each activation in torch.ops.mkldnn; "" for none"""


class ActivatedConv(nn.Module):
    """activation(conv(x)), or relu(conv(x) + other)."""

    def __init__(self, conv: nn.Conv2d, activation: str) -> None:
        super().__init__()
        self.conv, (self.name, self.scalars) = conv, ONEDNN[activation]
        self.weight: Tensor | None = None  # in oneDNN's order for the first batch; any batch may go

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """`x` (B, C, H, W) and `other` (B, D, h, w) to (B, D, h, w)."""
        c = self.conv
        if self.weight is None:
            given = c.weight.detach(), c.padding, c.stride, c.dilation, c.groups, x.shape
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(*given)
        given = (self.weight, c.bias, c.padding, c.stride, c.dilation, c.groups)
        run = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return run(x, *given, self.name, self.scalars, "")
        return run.binary(x, other, *given, "add", 1.0, self.name, self.scalars, "")


def fuse_activations(traced: fx.GraphModule) -> fx.GraphModule:
    """In place, for inference on a CPU; unchanged where PyTorch has no such convolution."""
    if not hasattr(torch.ops.mkldnn, "_reorder_convolution_weight"):
        return traced
    for node in list(traced.graph.nodes):
        activation, inputs = _activation(node, traced), _conv_and_other(node, traced)
        if activation is None or inputs is None:
            continue
        conv, *other = inputs
        if other and activation != "relu":  # oneDNN's operation has no other after a sum
            continue
        fused = ActivatedConv(traced.get_submodule(conv.target), activation)
        traced.set_submodule(conv.target, fused)
        with traced.graph.inserting_before(node):
            replaced = traced.graph.call_module(conv.target, (*conv.args, *other))
        node.replace_all_uses_with(replaced)
        for old in (node, node.args[0], conv) if other else (node, conv):
            traced.graph.erase_node(old)
    for node in traced.graph.nodes:
        if _is_conv(node, traced):
            traced.set_submodule(node.target, ActivatedConv(traced.get_submodule(node.target), ""))
    traced.recompile()
    return traced


def _activation(node: fx.Node, traced: fx.GraphModule) -> str | None:
    """ "relu" or "relu6" if the node is one."""
    module = traced.get_submodule(node.target) if node.op == "call_module" else None
    return ACTIVATIONS.get(node.target if module is None else type(module))


def _conv_and_other(node: fx.Node, traced: fx.GraphModule) -> tuple[fx.Node, ...] | None:
    """The convolution before an activation, and what is added to it; None for anything else."""
    if not node.args or not isinstance(node.args[0], fx.Node) or len(node.args[0].users) > 1:
        return None
    before = node.args[0]
    if _is_conv(before, traced):
        return (before,)
    is_sum = before.target in (operator.add, operator.iadd, torch.add) and not before.kwargs
    if is_sum and len(before.args) == 2:
        for conv, other in (before.args, before.args[::-1]):
            if _is_conv(conv, traced) and conv is not other and isinstance(other, fx.Node):
                return conv, other
    return None


def _is_conv(node: object, traced: fx.GraphModule) -> bool:
    """Whether a node is a convolution that zeros surround and one node uses, called once."""
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) > 1:
        return False
    conv = traced.get_submodule(node.target)
    calls = sum(other.target == node.target for other in traced.graph.nodes)
    plain = type(conv) is nn.Conv2d and conv.padding_mode == "zeros"
    return plain and not isinstance(conv.padding, str) and calls == 1
