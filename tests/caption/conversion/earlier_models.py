"""Random checkpoints of self-critical.pytorch's models, and what they compute, in its words.

In: the sizes of a model. Out: its state dict, and log-probabilities from that state dict alone,
with torch.nn.functional, one token after the other. Written from that system's AttModel.py and
TransformerModel.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    words: int = 13
    embedding: int = 8
    hidden: int = 8
    attention: int = 8
    features: int = 10
    use_bn: int = 0
    heads: int = 2
    d_ff: int = 16
    n_enc: int = 2
    n_dec: int = 2


def linear(found: Weights, name: str, inputs: int, outputs: int) -> None:
    found[f"{name}.weight"] = torch.randn(outputs, inputs) * 0.8 / math.sqrt(inputs) * 2
    found[f"{name}.bias"] = torch.randn(outputs) * 0.3


def batch_norm(found: Weights, name: str, size: int) -> None:
    for part, value in (
        ("weight", torch.rand(size) + 0.5), ("bias", torch.randn(size)),
        ("running_mean", torch.randn(size)), ("running_var", torch.rand(size) + 0.3),
        ("num_batches_tracked", torch.tensor(1)),
    ):  # fmt: skip
        found[f"{name}.{part}"] = value


def att_embed(found: Weights, s: Sizes) -> None:
    first = int(s.use_bn > 0)
    if first:
        batch_norm(found, "att_embed.0", s.features)
    linear(found, f"att_embed.{first}", s.features, s.hidden)
    if s.use_bn == 2:
        batch_norm(found, "att_embed.4", s.hidden)


def random_weights(kind: str, s: Sizes) -> Weights:
    """A state dict with that system's names."""
    found: Weights = {}
    if kind == "transformer":
        return _transformer_weights(s)
    first = kind == "att2in"  # the first att2in neither embeds regions nor has a ReLU on words
    size = s.features if first else s.hidden
    found["embed.weight" if first else "embed.0.weight"] = torch.randn(s.words + 1, s.embedding)
    if not first:
        att_embed(found, s)
        linear(found, "fc_embed.0", s.features, s.hidden)
    linear(found, "logit", s.hidden, s.words + 1)
    linear(found, "ctx2att", size, s.attention)
    if kind == "adaatt":
        for name, inputs in (("w2h", s.embedding), ("v2h", s.hidden), ("h2h.0", s.hidden)):
            linear(found, f"core.lstm.{name}", inputs, 4 * s.hidden)
            linear(found, f"core.lstm.r_{name.split('.')[0]}", inputs, s.hidden)
        for name in ("fr_linear.0", "ho_linear.0", "fr_embed", "ho_embed", "att2h"):
            linear(found, f"core.attention.{name}", s.hidden, s.hidden)
    else:
        linear(found, "core.attention.h2att", s.hidden, s.attention)
    linear(found, "core.attention.alpha_net", s.attention, 1)
    if kind in ("att2in", "att2in2"):
        linear(found, "core.a2c", size, 2 * s.hidden)
        linear(found, "core.i2h", s.embedding, 5 * s.hidden)
        linear(found, "core.h2h", s.hidden, 5 * s.hidden)
    if kind == "topdown":
        for name, inputs in (("att", s.embedding + 2 * s.hidden), ("lang", 2 * s.hidden)):
            for part, width in (("ih", inputs), ("hh", s.hidden)):
                linear(found, "x", width, 4 * s.hidden)
                found[f"core.{name}_lstm.weight_{part}"] = found.pop("x.weight")
                found[f"core.{name}_lstm.bias_{part}"] = found.pop("x.bias")
    return found


def _transformer_weights(s: Sizes) -> Weights:
    found: Weights = {"model.tgt_embed.0.lut.weight": torch.randn(s.words + 1, s.hidden) / 4}
    att_embed(found, s)
    for side, depth, attentions in (
        ("encoder", s.n_enc, ["self_attn"]), ("decoder", s.n_dec, ["self_attn", "src_attn"]),
    ):  # fmt: skip
        for i in range(depth):
            name = f"model.{side}.layers.{i}"
            for attention in attentions:
                for j in range(4):
                    linear(found, f"{name}.{attention}.linears.{j}", s.hidden, s.hidden)
            linear(found, f"{name}.feed_forward.w_1", s.hidden, s.d_ff)
            linear(found, f"{name}.feed_forward.w_2", s.d_ff, s.hidden)
            for j in range(len(attentions) + 1):
                _norm(found, f"{name}.sublayer.{j}.norm", s.hidden)
        _norm(found, f"model.{side}.norm", s.hidden)
    linear(found, "model.generator.proj", s.hidden, s.words + 1)
    return found


def _norm(found: Weights, name: str, size: int) -> None:
    found[f"{name}.a_2"], found[f"{name}.b_2"] = torch.rand(size) + 0.5, torch.randn(size) / 3


def apply(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x.flatten(0, 1), *parts).view_as(x)


def regions(w: Weights, s: Sizes, att: Tensor) -> Tensor:
    att = norm(w, "att_embed.0", att) if s.use_bn else att
    att = apply(w, f"att_embed.{int(s.use_bn > 0)}", att).relu()
    return norm(w, "att_embed.4", att) if s.use_bn == 2 else att


def log_probs(
    kind: str, w: Weights, s: Sizes, fc: Tensor, att: Tensor, mask: Tensor, words: Tensor
) -> Tensor:
    """(B, K, T, V + 1) of `words` (B, K, T), for fc (B, D), att (B, R, D), mask (B, R)."""
    k = words.shape[1]
    fc, att, mask = (t.repeat_interleave(k, 0) for t in (fc, att, mask.to(att.dtype)))
    tokens = words.flatten(0, 1)
    if kind == "transformer":
        return _transformer(w, s, att, mask, tokens).unflatten(0, words.shape[:2])
    values = att if kind == "att2in" else regions(w, s, att)
    keys = apply(w, "ctx2att", values)
    image = fc if kind == "att2in" else apply(w, "fc_embed.0", fc).relu()
    zero = values.new_zeros(len(tokens), s.hidden)
    state, found = [zero] * 4, []
    for token in tokens.unbind(1):
        x = w["embed.weight"][token] if kind == "att2in" else w["embed.0.weight"][token].relu()
        hidden, state = CORES[kind](w, x, image, values, keys, mask, state)
        found.append(apply(w, "logit", hidden).log_softmax(-1))
    return torch.stack(found, 1).unflatten(0, words.shape[:2])


def attend(w: Weights, h: Tensor, values: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    hidden = (keys + apply(w, "core.attention.h2att", h)[:, None]).tanh()
    weight = apply(w, "core.attention.alpha_net", hidden)[..., 0].softmax(1) * mask
    return ((weight / weight.sum(1, keepdim=True))[:, None] @ values)[:, 0]


def att2in(w, x, image, values, keys, mask, state):
    h, c, *_ = state
    seen = attend(w, h, values, keys, mask)
    sums = apply(w, "core.i2h", x) + apply(w, "core.h2h", h)
    i, f, o, *candidates = sums.chunk(5, 1)
    i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
    one, two = (torch.cat(candidates, 1) + apply(w, "core.a2c", seen)).chunk(2, 1)
    c = f * c + i * torch.max(one, two)
    h = o * c.tanh()
    return h, [h, c]


def lstm(w: Weights, name: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    parts = (w[f"core.{name}_lstm.{part}"] for part in ("weight_ih", "weight_hh"))
    biases = (w[f"core.{name}_lstm.{part}"] for part in ("bias_ih", "bias_hh"))
    return torch.lstm_cell(x, (h, c), *parts, *biases)


def topdown(w, x, image, values, keys, mask, state):
    h, c, language, cell = state
    h, c = lstm(w, "att", torch.cat([language, image, x], 1), h, c)
    seen = attend(w, h, values, keys, mask)
    language, cell = lstm(w, "lang", torch.cat([seen, h], 1), language, cell)
    return language, [h, c, language, cell]


def adaatt(w, x, image, values, keys, mask, state):
    h, c, *_ = state
    inputs = {"w2h": x, "v2h": image, "h2h.0": h}
    sums = sum(apply(w, f"core.lstm.{name}", value) for name, value in inputs.items())
    gate = sum(apply(w, f"core.lstm.r_{n.split('.')[0]}", v) for n, v in inputs.items()).sigmoid()
    i, f, o, g = sums.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    name = "core.attention"
    fake = apply(w, f"{name}.fr_linear.0", gate * c.tanh()).relu()
    out = apply(w, f"{name}.ho_linear.0", h).tanh()
    every = torch.cat([fake[:, None], values], 1)
    embedded = torch.cat([apply(w, f"{name}.fr_embed", fake)[:, None], keys], 1)
    hidden = (embedded + apply(w, f"{name}.ho_embed", out)[:, None]).tanh()
    weight = apply(w, f"{name}.alpha_net", hidden)[..., 0].softmax(1)
    weight = weight * torch.cat([mask[:, :1], mask], 1)
    seen = ((weight / weight.sum(1, keepdim=True))[:, None] @ every)[:, 0]
    return apply(w, f"{name}.att2h", seen + out).tanh(), [h, c]


CORES = {"att2in": att2in, "att2in2": att2in, "topdown": topdown, "adaatt": adaatt}


def _transformer(w: Weights, s: Sizes, att: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
    x, seen = regions(w, s, att), mask[:, None, None] > 0
    for i in range(s.n_enc):
        name = f"model.encoder.layers.{i}"
        x = x + _attention(w, f"{name}.self_attn", s, *[_layer_norm(w, name, 0, x)] * 2, seen)
        x = x + _feed(w, name, _layer_norm(w, name, 1, x))
    memory, length = _std_norm(w, "model.encoder.norm", x), tokens.shape[1]
    y = w["model.tgt_embed.0.lut.weight"][tokens] * math.sqrt(s.hidden) + _positions(length, s, x)
    past = torch.ones(length, length).tril().bool()
    for i in range(s.n_dec):
        name = f"model.decoder.layers.{i}"
        y = y + _attention(w, f"{name}.self_attn", s, *[_layer_norm(w, name, 0, y)] * 2, past)
        y = y + _attention(w, f"{name}.src_attn", s, _layer_norm(w, name, 1, y), memory, seen)
        y = y + _feed(w, name, _layer_norm(w, name, 2, y))
    return apply(w, "model.generator.proj", _std_norm(w, "model.decoder.norm", y)).log_softmax(-1)


def _positions(length: int, s: Sizes, like: Tensor) -> Tensor:
    steps = torch.arange(0, s.hidden, 2, dtype=like.dtype)
    angles = torch.arange(length, dtype=like.dtype)[:, None] * torch.exp(
        steps * -(math.log(10000.0) / s.hidden)
    )
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def _attention(w, name, s, x, memory, mask):
    query, key, value = (
        apply(w, f"{name}.linears.{j}", t).unflatten(2, (s.heads, -1)).transpose(1, 2)
        for j, t in enumerate((x, memory, memory))
    )
    scores = query @ key.transpose(2, 3) / math.sqrt(s.hidden // s.heads)
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    return apply(w, f"{name}.linears.3", (weights @ value).transpose(1, 2).flatten(2))


def _feed(w: Weights, name: str, x: Tensor) -> Tensor:
    return apply(w, f"{name}.feed_forward.w_2", apply(w, f"{name}.feed_forward.w_1", x).relu())


def _layer_norm(w: Weights, name: str, number: int, x: Tensor) -> Tensor:
    return _std_norm(w, f"{name}.sublayer.{number}.norm", x)


def _std_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return w[f"{name}.a_2"] * centred / (x.std(-1, keepdim=True) + 1e-6) + w[f"{name}.b_2"]
