"""The weights of self-critical.pytorch's models as those of our decoders.

In: a state dict and the options of its training. Out: a Conversion: the decoder's name, the sizes
that differ from our defaults, and its state dict. The mapped decoder computes the same function:

- Two biases that are added become one, and a bias that softmax cancels is dropped.
- A BatchNorm before a linear layer is folded into it. One after a ReLU is folded into the layers
  that read its output, since attention weights sum to 1.
- That of adaatt is kept as a scale and a shift, since the sentinel shares the weights.
- That system's LayerNorm adds epsilon to the unbiased deviation: Shape.norm is "deviation".

Sums are computed in double precision.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from caption.conversion.folding import (
    Weights,
    attention,
    fold,
    linear,
    named,
    project_regions,
)


@dataclass(frozen=True)
class Conversion:
    decoder: str
    weights: Weights
    """in double precision"""
    sizes: dict[str, int | float | str | bool] = field(default_factory=dict)
    """fields of Shape beside classes, features, embedding, hidden and layers"""


def option(opt: Namespace, name: str, default: object) -> object:
    """An option of the training; older files lack the newer ones."""
    value = getattr(opt, name, default)
    return default if value is None else value


def newfc(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    """newfc and fc, whose layers have other names."""
    core = "_core" if "_core.i2h.weight" in weights else "core"
    image = "fc_embed" if "fc_embed.weight" in weights else "img_embed"
    found = named("project", linear(weights, image))
    found |= named("from_input", linear(weights, f"{core}.i2h", weights[f"{core}.h2h.bias"]))
    found |= named("classify", linear(weights, "logit"))
    found["from_hidden.weight"] = weights[f"{core}.h2h.weight"]
    return Conversion("newfc", found | {"embed.weight": weights["embed.weight"]})


def show_tell(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    found = named("project", linear(weights, "img_embed"))
    found |= named("classify", linear(weights, "logit"))
    for name, value in weights.items():
        if name.startswith("core."):
            found[name.replace("core.", "lstm.")] = value
            bias = name.replace("core.weight", "lstm.bias")  # its LSTM has none
            found.setdefault(bias, value.new_zeros(len(value)))
    found |= {name.replace("core.", "lstm."): weights[name] for name in weights if "core.b" in name}
    return Conversion("show_tell", found | {"embed.weight": weights["embed.weight"]})


def att2in(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    """att2in2, and att2in, which neither projects regions nor has a ReLU on words."""
    projects = any(name.startswith("att_embed") for name in weights)
    found, sizes = named("classify", linear(weights, "logit")), {}
    size = weights["ctx2att.weight"].shape[1]
    scale, shift = torch.ones(size).double(), torch.zeros(size).double()
    if projects:
        layer, scale, shift = project_regions(weights)
        found |= named("project", layer)
    else:
        sizes["region_projection"] = "none"
    found |= attention(weights, "core.attention", scale, shift)
    found |= named("from_word", linear(weights, "core.i2h", weights["core.h2h.bias"]))
    found |= named("from_seen", fold(linear(weights, "core.a2c"), scale, shift))
    found["from_hidden.weight"] = weights["core.h2h.weight"]
    found["embed.weight"] = weights["embed.0.weight" if projects else "embed.weight"]
    return Conversion("att2in", found, sizes | {"attention": len(found["attend.query.weight"])})


def topdown(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    layer, scale, shift = project_regions(weights)
    found = named("project_att", layer) | named("project_fc", linear(weights, "fc_embed.0"))
    found |= named("classify", linear(weights, "logit"))
    found |= attention(weights, "core.attention", scale, shift)
    size = len(scale)
    lstm = {name: _lstm(weights, f"core.{name}_lstm") for name in ("att", "lang")}
    (inputs, hidden), bias = lstm["att"]  # the inputs: language state, image, word
    found |= {
        "from_hidden.weight": torch.cat([inputs[:, :size], hidden], 1),
        "from_image.weight": inputs[:, size : 2 * size],
        "from_word.weight": inputs[:, 2 * size :],
        "from_word.bias": bias,
        "embed.weight": weights["embed.0.weight"],
    }
    (inputs, hidden), bias = lstm["lang"]  # the inputs: attended region, attention state
    context = fold({"weight": inputs[:, :size], "bias": bias}, scale, shift)
    found["language.weight"] = torch.cat([context["weight"], inputs[:, size:], hidden], 1)
    found["language.bias"] = context["bias"]
    return Conversion("topdown", found, {"attention": len(found["attend.query.weight"])})


def adaatt(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    """ValueError for an LSTM of several layers, whose sentinel has other inputs."""
    if "core.lstm.r_w2h.weight" not in weights:
        raise ValueError("an LSTM of several layers has no counterpart here")
    layer, scale, shift = project_regions(weights)
    found, sizes = named("project", layer), {"sentinel_layers": True}
    if option(opt, "use_bn", 0) == 2:  # no fold: attention weights of the regions sum to 1 - beta
        sizes["region_projection"] = "affine"
        found |= {"region_scale": scale, "region_shift": shift}
    found |= named("project_mean", linear(weights, "fc_embed.0"))
    found |= named("classify", linear(weights, "logit"))
    gates = {name: _gates(weights, name) for name in ("w2h", "v2h", "h2h")}
    found["from_word.weight"], found["from_image.weight"] = gates["w2h"][0], gates["v2h"][0]
    found["from_hidden.weight"] = gates["h2h"][0]
    found["from_word.bias"] = sum(bias for _, bias in gates.values())
    core = "core.attention"
    bias = weights[f"{core}.ho_embed.bias"]  # of the query, which has none here
    found |= named("attend.key", linear(weights, "ctx2att", bias))
    found |= named("sentinel_key", linear(weights, f"{core}.fr_embed", bias))
    found["attend.query.weight"] = weights[f"{core}.ho_embed.weight"]
    found["attend.score.weight"] = weights[f"{core}.alpha_net.weight"]
    for ours, theirs in (
        ("sentinel_layer", "fr_linear.0"), ("hidden_layer", "ho_linear.0"), ("merge", "att2h"),
    ):  # fmt: skip
        found |= named(ours, linear(weights, f"{core}.{theirs}"))
    found["embed.weight"] = weights["embed.0.weight"].relu()  # the ReLU follows the embedding
    return Conversion("adaptive", found, sizes | {"attention": len(bias)})


def _gates(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """The input, forget, candidate and output gates, in nn.LSTM's order, and the sentinel's."""
    layer = f"core.lstm.{name}" + (".0" if name == "h2h" else "")
    parts = []
    for kind in ("weight", "bias"):
        i, f, o, g = weights[f"{layer}.{kind}"].chunk(4)
        parts.append(torch.cat([i, f, g, o, weights[f"core.lstm.r_{name}.{kind}"]]))
    return parts[0], parts[1]


def _lstm(weights: Mapping[str, Tensor], name: str) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The two matrices of an nn.LSTMCell and the sum of its biases."""
    bias = weights[f"{name}.bias_ih"] + weights[f"{name}.bias_hh"]
    return (weights[f"{name}.weight_ih"], weights[f"{name}.weight_hh"]), bias


def transformer(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    layer, scale, shift = project_regions(weights)
    found, sizes = named("project", layer), {"region_projection": "relu"}
    if option(opt, "use_bn", 0) == 2:
        sizes["region_projection"] = "affine"
        found |= {"region_scale": scale, "region_shift": shift}
    depth = {}
    for side, last in (("encoder", "encoded"), ("decoder", "decoded")):
        prefix = f"model.{side}.layers."
        depth[side] = 1 + max(int(n[len(prefix) :].split(".")[0]) for n in weights if prefix in n)
        for i in range(depth[side]):
            found |= named(f"{side}.{i}", _transformer_layer(weights, f"{prefix}{i}", side))
        found |= named(last, _layer_norm(weights, f"model.{side}.norm"))
    found |= named("classify", linear(weights, "model.generator.proj"))
    found["embed.weight"] = weights["model.tgt_embed.0.lut.weight"]
    return Conversion("transformer", found, sizes | {
        "layers": depth["encoder"], "decoder_layers": depth["decoder"], "norm_eps": 1e-6,
        "norm": "deviation",
        "heads": int(option(opt, "num_att_heads", 8)),
        "feed_forward": len(weights["model.encoder.layers.0.feed_forward.w_1.bias"]),
    })  # fmt: skip


def _transformer_layer(weights: Mapping[str, Tensor], name: str, side: str) -> Weights:
    attentions = {"self_attn": "regions"}
    if side == "decoder":
        attentions = {"self_attn": "words", "src_attn": "regions"}
    found = {}
    for theirs, ours in attentions.items():
        query, key, value, out = (linear(weights, f"{name}.{theirs}.linears.{i}") for i in range(4))
        memory = {part: torch.cat([key[part], value[part]]) for part in key}
        for layer, own in (("query", query), ("memory", memory), ("merge", out)):
            found |= named(f"{ours}.{layer}", own)
    found |= named("feed.0", linear(weights, f"{name}.feed_forward.w_1"))
    found |= named("feed.2", linear(weights, f"{name}.feed_forward.w_2"))
    for i in range(len(attentions) + 1):
        found |= named(f"norms.{i}", _layer_norm(weights, f"{name}.sublayer.{i}.norm"))
    return found


def _layer_norm(weights: Mapping[str, Tensor], name: str) -> Weights:
    return {"weight": weights[f"{name}.a_2"], "bias": weights[f"{name}.b_2"]}


MODELS: dict[str, Callable[[Mapping[str, Tensor], Namespace], Conversion]] = {
    "newfc": newfc, "fc": newfc, "show_tell": show_tell, "att2in": att2in, "att2in2": att2in,
    "topdown": topdown, "updown": topdown, "transformer": transformer, "adaatt": adaatt,
}  # fmt: skip


def convert(weights: Mapping[str, Tensor], opt: Namespace) -> Conversion:
    """The decoder of a checkpoint. ValueError for a model that has no counterpart here."""
    name = str(getattr(opt, "caption_model", ""))
    if name not in MODELS:
        raise ValueError(f"the model {name!r} has no counterpart here; known: {', '.join(MODELS)}")
    if option(opt, "logit_layers", 1) != 1:
        raise ValueError(f"{name} with --logit_layers {opt.logit_layers} has no counterpart here")
    doubles = {re.sub(r"^module\.", "", key): value.double() for key, value in weights.items()}
    try:
        return MODELS[name](doubles, opt)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"the checkpoint is not a {name} model ({error})") from None
