"""The gradients of depthwise convolutions on a CPU: in bfloat16, and as the encoders compute them.

    python -m tests.bench.depthwise [LITE]      the version of EfficientNet-Lite: 0, 1 or 2

Prints for each depthwise convolution of the network, on 20 pictures of 224 pixels, milliseconds of
the gradients of the input and the weight: by oneDNN in bfloat16, in float32 (tensors that are
float32 already: the bound), and by Float32Gradients from bfloat16 tensors; then the sums. Medians.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from prepro import encoders
from prepro.encoders.depthwise import DepthwiseConv2d, Float32Gradients, float32_depthwise_gradients

TIMES = 5
BATCH, SIDE = 20, 224


def shapes(version: int) -> dict[tuple, int]:
    """(shape of the input, kernel, stride, padding) of each depthwise convolution, and how many."""
    found: dict[tuple, int] = {}
    network = encoders.create_encoder(f"efficientnet_lite{version}", "none").network.eval()
    float32_depthwise_gradients(network)

    def note(conv: DepthwiseConv2d, inputs: tuple[Tensor], _: Tensor) -> None:
        key = (tuple(inputs[0].shape[1:]), conv.kernel_size, conv.stride, conv.padding)
        found[key] = found.get(key, 0) + 1

    for module in network.modules():
        if isinstance(module, DepthwiseConv2d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        network.features(torch.zeros(1, 3, SIDE, SIDE))
    return found


def milliseconds(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(TIMES + 1):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(spent[1:])


def gradients(shape: tuple, kernel: tuple, stride: tuple, padding: tuple) -> list[float]:
    """Milliseconds in bfloat16, in float32, and of Float32Gradients."""
    x = torch.randn(BATCH, *shape).to(memory_format=torch.channels_last)
    weight = torch.randn(shape[0], 1, *kernel)
    y = torch.nn.functional.conv2d(x, weight, None, stride, padding, groups=shape[0])
    rest = (None, stride, padding, (1, 1), False, (0, 0), shape[0], [True, True, False])

    def by(dtype: torch.dtype) -> float:
        tensors = [t.to(dtype) for t in (y, x, weight)]
        return milliseconds(lambda: torch.ops.aten.convolution_backward(*tensors, *rest))

    leaves = [t.bfloat16().requires_grad_() for t in (x, weight)]
    output = Float32Gradients.apply(*leaves, stride, padding)
    ours = milliseconds(
        lambda: torch.autograd.grad(output, leaves, output.detach(), retain_graph=True)
    )
    return [by(torch.bfloat16), by(torch.float32), ours]


def main(version: str = "2") -> None:
    print(f"{'input':>16} {'kernel':>6} {'stride':>6} {'bfloat16':>9} {'float32':>9} {'ours':>9}")
    total = [0.0, 0.0, 0.0]
    for (shape, kernel, stride, padding), count in shapes(int(version)).items():
        spent = gradients(shape, kernel, stride, padding)
        total = [a + count * b for a, b in zip(total, spent, strict=True)]
        size = " x ".join(map(str, shape))
        print(f"{size:>16} {kernel[0]:>6} {stride[0]:>6}", *(f"{s:9.1f}" for s in spent))
    print(f"{'the network':>30}", *(f"{s:9.1f}" for s in total))
    print(f"{total[2] / total[1]:.2f} of the bound, {total[0] / total[2]:.2f} times faster")


if __name__ == "__main__":
    main(*sys.argv[1:])
