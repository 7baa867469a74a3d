"""Fast kernels for attention and recurrence inside a loop over time, with their own gradients.

Each computes what the plain code of `attention.py` and `recurrence.py` computes; a test compares
values and gradients, and `python -m tests.bench.attention` compares the speed. They are used on a
CPU, where they pay. Three ideas:

1. The gradient of a weight that every time step uses is one product at the end
   (DeferredWeightGrad).
2. The gradients of keys and values accumulate in place over the steps (`Accumulators`). Autograd
   would allocate and add a tensor of their size at every step.
3. tanh(keys + query) is computed in blocks that stay in the CPU's cache, and again in the backward
   pass: that is faster than to write (n, R, A) to memory and read it.

B batch, n rows at a step, P rows of all steps, R regions, A attention size, D size of the values.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from prepro.runtime.matmul import uses_onednn

Accumulators = dict[str, Tensor]
"""the gradients of "keys" and "values", summed while a backward pass runs through the time steps"""
BLOCK = 1 << 19
"""numbers of the buffer of tanh(keys + query): 2 MiB in float32"""


def use_kernels(tensor: Tensor) -> bool:
    """Whether the kernels pay for a tensor on this device; elsewhere, and in an exported graph, the
    plain code is used."""
    return tensor.device.type == "cpu" and not torch.compiler.is_exporting()


class DeferredWeightGrad:
    """x_t + W h_t for t = 0, 1, ...; the gradient of W is one product over all t at the end.

    Autograd would multiply and add a matrix of W's size at every step. The gradient of x_t + W h_t
    is also the gradient of x_t, so the gradient of x is all that the gradient of W needs.
    """

    def __init__(self, x: Tensor, weight: Tensor, counts: Sequence[int]) -> None:
        """`x` (P, G), of which step t has `counts[t]` rows; `weight` (G, H)."""
        self.hiddens: list[Tensor] = []
        self.inputs = _DeferredWeightGrad.apply(x, weight, self.hiddens).split(list(counts))
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        self.weight = weight.detach().to(dtype)  # once, not at every step
        self.reordered: tuple[Tensor, Tensor] | None = None
        if uses_onednn(dtype):
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self.reordered = reorder(self.weight), reorder(self.weight.T.contiguous())

    def __call__(self, h: Tensor) -> Tensor:
        """`h` (n, H) of the next step, to (n, G)."""
        x = self.inputs[len(self.hiddens)]
        self.hiddens.append(h.detach())
        if self.reordered is None:
            return torch.addmm(x, h, self.weight.T)
        return _AddProduct.apply(x.to(self.weight.dtype), h.to(self.weight.dtype), *self.reordered)


class _AddProduct(torch.autograd.Function):
    """x + W h, without a gradient of W; W and its transpose are in oneDNN's order."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, h: Tensor, weight: Tensor, transposed: Tensor
    ) -> Tensor:
        ctx.transposed = transposed
        run = torch.ops.mkldnn._linear_pointwise.binary
        return run(h.contiguous(), x.contiguous(), weight, None, "add")

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[1]:
            return grad, None, None, None
        run = torch.ops.mkldnn._linear_pointwise
        return grad, run(grad.contiguous(), ctx.transposed, None, "none", [], ""), None, None


class _DeferredWeightGrad(torch.autograd.Function):
    """The identity of x; backward, the gradient of the W that multiplied `hiddens` in the loop."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, hiddens: list[Tensor]) -> Tensor:
        ctx.hiddens, ctx.dtype = hiddens, weight.dtype
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        hiddens = torch.cat(ctx.hiddens)
        return grad, (grad.to(hiddens.dtype).T @ hiddens).to(ctx.dtype), None


def attend_steps(
    attention: nn.Module, keys: Tensor, values: Tensor, mask: Tensor, counts: Sequence[int]
) -> Callable[[Tensor, Sequence[int]], tuple[Tensor, Tensor]]:
    """AdditiveAttention.attend_steps with accumulated gradients.

    A backward pass has to reach the keys, or to leave out the whole loop, as a training step does.
    """
    query, v, grads = attention.query, attention.score.weight[0], {}
    if torch.is_grad_enabled():
        zero = keys.new_zeros(()).expand(sum(counts), query.out_features)
        query = DeferredWeightGrad(zero, query.weight_to_train(), counts)
    keys, values = _AccumulateGrads.apply(keys.to(v.dtype), values, v, grads)

    def attend(hidden: Tensor, rows_per_image: Sequence[int]) -> tuple[Tensor, Tensor]:
        scores = _AdditiveScores.apply(query(hidden), keys, v, rows_per_image, grads)
        equal = len(set(rows_per_image)) == 1
        repeats = rows_per_image[0] if equal else torch.tensor(rows_per_image)
        scores = scores.masked_fill(~mask.repeat_interleave(repeats, 0), -torch.inf)
        weights = scores.softmax(-1)
        return _WeightedSum.apply(weights, values, rows_per_image, grads), weights

    return attend


def additive_scores(
    query: Tensor, keys: Tensor, v: Tensor, rows_per_image: Sequence[int]
) -> Tensor:
    """v . tanh(keys + query), (n, R), of `query` (n, A), `keys` (B, R, A) and `v` (A,)."""
    return _AdditiveScores.apply(query, keys, v, rows_per_image, None)


def weighted_sum(weights: Tensor, values: Tensor, rows_per_image: Sequence[int]) -> Tensor:
    """`weights` (n, R) times each image's `values` (B, R, D), (n, D)."""
    return _WeightedSum.apply(weights, values, rows_per_image, None)


class _AccumulateGrads(torch.autograd.Function):
    """The identity of keys and values; backward, the sums that the time steps left in `grads`.

    The backward of this function runs after that of all time steps, since they use its outputs.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, keys: Tensor, values: Tensor, v: Tensor, grads: Accumulators
    ) -> tuple:
        ctx.grads, ctx.v = grads, v.detach()
        ctx.set_materialize_grads(False)
        return keys.view_as(keys), values.view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *_: None) -> tuple[Tensor | None, ...]:
        keys, values = ctx.grads.pop("keys", None), ctx.grads.pop("values", None)
        return None if keys is None else keys.mul_(4 * ctx.v), values, None, None


def _accumulator(grads: Accumulators | None, name: str, like: Tensor) -> Tensor:
    """The tensor that a gradient is added to; a new one where nothing is accumulated."""
    if grads is None:
        return torch.zeros_like(like)
    if name not in grads:
        grads[name] = torch.zeros_like(like)
    return grads[name]


class _WeightedSum(torch.autograd.Function):
    """One matrix product an image, or one batched product if all images have as many rows."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, weights: Tensor, values: Tensor, rows_per_image: Sequence[int],
        grads: Accumulators | None,
    ) -> Tensor:  # fmt: skip
        weights = weights.to(values.dtype)
        ctx.save_for_backward(weights, values)
        ctx.rows, ctx.grads = rows_per_image, grads
        if len(set(rows_per_image)) == 1:
            return (weights.unflatten(0, (len(rows_per_image), -1)) @ values).flatten(0, 1)
        split = weights.split(list(rows_per_image))
        return torch.cat([w @ v for w, v in zip(split, values, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, values = ctx.saved_tensors
        d_weights, d_values = torch.empty_like(weights), _accumulator(ctx.grads, "values", values)
        if len(set(ctx.rows)) == 1:
            rows = [t.unflatten(0, (len(ctx.rows), -1)) for t in (grad, weights, d_weights)]
            torch.bmm(rows[0], values.mT, out=rows[2])
            d_values.baddbmm_(rows[1].mT, rows[0])
        else:
            rows = (t.split(list(ctx.rows)) for t in (grad, weights, d_weights))
            for g, w, d_w, v, d_v in zip(*rows, values.mT, d_values, strict=True):
                torch.mm(g, v, out=d_w)
                d_v.addmm_(w.T, g)
        return d_weights, None if ctx.grads is not None else d_values, None, None


class _AdditiveScores(torch.autograd.Function):
    """v . tanh(keys + query) as 2 v . sigmoid(2 keys + 2 query) - sum(v).

    On a CPU, PyTorch computes several sigmoids in the time of a tanh.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, keys: Tensor, v: Tensor,
        rows_per_image: Sequence[int], grads: Accumulators | None,
    ) -> Tensor:  # fmt: skip
        query, keys = 2 * query.to(v.dtype), keys.to(v.dtype)  # bfloat16 is slower here
        ctx.save_for_backward(query, keys, v)
        ctx.rows, ctx.grads = rows_per_image, grads
        scores = query.new_empty(len(query), keys.shape[1])
        for q, out, k, y in _blocked(rows_per_image, (query, scores), (keys,)):
            torch.add(q.unsqueeze(-2), k.unsqueeze(-3), alpha=2, out=y).sigmoid_()
            torch.mv(y.view(-1, len(v)), v, out=out.view(-1))
        return scores.mul_(2).sub_(v.sum())

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, v = ctx.saved_tensors
        d_keys, d_query = _accumulator(ctx.grads, "keys", keys), torch.empty_like(query)
        grad, d_v = grad.contiguous(), torch.zeros_like(v)
        for q, g, d_q, k, d_k, y in _blocked(ctx.rows, (query, grad, d_query), (keys, d_keys)):
            torch.add(q.unsqueeze(-2), k.unsqueeze(-3), alpha=2, out=y).sigmoid_()
            d_v.addmv_(y.view(-1, len(v)).T, g.view(-1))
            slope = y.addcmul_(y, y, value=-1).mul_(g.unsqueeze(-1))  # y (1 - y) grad
            torch.sum(slope, -2, out=d_q)
            d_k.add_(slope.sum(-3))
        d_v.mul_(2).sub_(grad.sum())
        d_keys = None if ctx.grads is not None else d_keys.mul_(4 * v)
        return d_query.mul_(4 * v), d_keys, d_v, None, None


def _blocked(
    rows_per_image: Sequence[int], rows: Sequence[Tensor], images: Sequence[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """Yields a few rows at a time: of `rows` (q, ...), of `images` (...), a buffer (q, R, A).

    The rows are of one image, or all n rows of g images: (g, n, ...), (g, ...), (g, n, R, A). The
    buffer is used again and again and stays in the CPU's cache.
    """
    most, n = max(1, BLOCK // images[0][0].numel()), rows_per_image[0]
    if 2 * n <= most and len(set(rows_per_image)) == 1:
        buffer = images[0].new_empty(most // n, n, *images[0].shape[1:])
        grouped = (*(t.unflatten(0, (-1, n)) for t in rows), *images)
        for block in zip(*(t.split(most // n) for t in grouped), strict=True):
            yield (*block, buffer[: len(block[0])])
        return
    pieces = [
        (i, min(most, n - start))
        for i, n in enumerate(rows_per_image)
        for start in range(0, n, most)
    ]
    sizes = [size for _, size in pieces]
    buffer = images[0].new_empty(max(sizes), *images[0].shape[1:])
    split = zip(*(t.split(sizes) for t in rows), strict=True)
    per_image = list(zip(*(t.unbind() for t in images), strict=True))
    for (image, size), block in zip(pieces, split, strict=True):
        yield (*block, *per_image[image], buffer[:size])
