"""Each decoder against its paper's formulas, one caption and one token at a time."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caption.models import DECODERS, Decoder, Features, Shape, build
from caption.models.layers.attention import AdditiveAttention
from caption.models.transformer import sinusoids
from tests.caption.models.forcing import force

Paper = Callable[[Decoder, Tensor, Tensor, Tensor], Iterator[Tensor]]

B, K, T, R, D, E, H, CLASSES = 2, 2, 4, 5, 7, 6, 8, 9


def build_decoder(name: str, **sizes: int) -> tuple[Decoder, Features, Tensor]:
    torch.manual_seed(3)
    shape = Shape(CLASSES, D, **{"embedding": E, "hidden": H, "heads": 2, **sizes})
    decoder = build(name, shape).double().eval().requires_grad_(False)
    for weight in decoder.parameters():
        if weight.dim() == 1:  # untrained norms are all equal, which hides a mistake
            weight.normal_()
    features = Features(torch.randn(B, D).double(), torch.randn(B, R, D).double())
    return decoder, features, torch.randint(CLASSES, (B, K, T))


def check(decoder: Decoder, features: Features, tokens: Tensor, paper: Paper) -> None:
    """`paper(decoder, fc, att, tokens)` yields a hidden (H,) for each token of one caption."""
    hidden = force(decoder, features, tokens)[0]
    for b in range(B):
        for k in range(K):
            expected = list(paper(decoder, features.fc[b], features.att[b], tokens[b, k]))
            assert torch.allclose(hidden[b, k], torch.stack(expected), rtol=0, atol=1e-12)


def attention_weights(attend: AdditiveAttention, h: Tensor, values: Tensor) -> Tensor:
    scores = [
        attend.score.weight[0] @ torch.tanh(attend.key(v) + attend.query.weight @ h) for v in values
    ]
    return torch.stack(scores).softmax(0)


def lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.view(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def show_tell(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    cell = nn.LSTMCell(E, H).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in m.lstm.state_dict().items()})
    h, c = cell(m.project(fc))
    for w in tokens:
        h, c = cell(m.embed(w), (h, c))
        yield h


def newfc(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    h = c = torch.zeros(H).double()
    for n, x in enumerate([m.project(fc), *m.embed(tokens)]):
        i, f, o, z1, z2 = (m.from_input(x) + m.from_hidden(h)).view(5, -1)
        c = i.sigmoid() * torch.maximum(z1, z2) + f.sigmoid() * c
        h = o.sigmoid() * c.tanh()
        if n:
            yield h


def show_attend_tell(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    a = m.project(att).relu()
    h, c = m.first(a.mean(0)).tanh().view(2, -1)
    for w in tokens:
        z = m.gate(h).sigmoid() * (attention_weights(m.attend, h, a) @ a)
        h, c = lstm(m.from_word(m.embed(w)) + m.recur(torch.cat([z, h])), c)
        yield m.deep(torch.cat([m.embed(w), h, z])).tanh()


def att2in(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    values = m.project(att).relu()
    h = c = torch.zeros(H).double()
    for w in tokens:
        context = m.from_seen(attention_weights(m.attend, h, values) @ values).view(2, -1)
        i, f, o, *z = (m.from_word(m.embed(w).relu()) + m.from_hidden(h)).view(5, -1)
        c = i.sigmoid() * torch.maximum(z[0] + context[0], z[1] + context[1]) + f.sigmoid() * c
        h = o.sigmoid() * c.tanh()
        yield h


def adaptive(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    values, whole = m.project(att).relu(), m.project_mean(att.mean(0)).relu()
    h = c = torch.zeros(H).double()
    for w in tokens:
        gates = m.from_word(m.embed(w)) + m.from_image(whole) + m.from_hidden(h)
        h, c = lstm(gates[: 4 * H], c)
        s = gates[4 * H :].sigmoid() * c.tanh()
        z = [m.attend.key(v) for v in values] + [m.sentinel_key(s)]
        z = [m.attend.score((key + m.attend.query(h)).tanh()) for key in z]
        weights = torch.cat(z).softmax(0)  # equation 12: the last is beta
        yield weights[:-1] @ values + weights[-1] * s + h


def topdown(m: Decoder, fc: Tensor, att: Tensor, tokens: Tensor) -> Iterator[Tensor]:
    values = m.project_att(att).relu()
    h1 = c1 = h2 = c2 = torch.zeros(H).double()
    for w in tokens:
        x = m.from_word(m.embed(w).relu()) + m.from_image(m.project_fc(fc).relu())
        h1, c1 = lstm(x + m.from_hidden(torch.cat([h2, h1])), c1)
        context = attention_weights(m.attend, h1, values) @ values
        h2, c2 = lstm(m.language(torch.cat([context, h1, h2])), c2)
        yield h2


PAPERS = [show_tell, newfc, show_attend_tell, att2in, adaptive, topdown]


def test_every_decoder_is_checked() -> None:
    assert {paper.__name__ for paper in PAPERS} | {"transformer"} == set(DECODERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_recurrent_decoders(paper: Paper) -> None:
    check(*build_decoder(paper.__name__), paper)


def test_transformer_equals_torch_nn() -> None:
    """nn.TransformerEncoder and nn.TransformerDecoder with the same weights, norm first."""
    m, features, tokens = build_decoder("transformer", embedding=H, layers=2, regions=R)
    options = {"dropout": 0.0, "batch_first": True, "norm_first": True}
    encoder = nn.TransformerEncoderLayer(H, 2, 4 * H, **options)
    encoder = nn.TransformerEncoder(encoder, 2, nn.LayerNorm(H), enable_nested_tensor=False)
    decoder = nn.TransformerDecoderLayer(H, 2, 4 * H, **options)
    decoder = nn.TransformerDecoder(decoder, 2, nn.LayerNorm(H))
    encoder.double().load_state_dict(
        torch_state_dict(m.encoder, m.encoded, ["regions"], ["self_attn"])
    )
    names = (["words", "regions"], ["self_attn", "multihead_attn"])
    decoder.double().load_state_dict(torch_state_dict(m.decoder, m.decoded, *names))
    memory = encoder(m.project(features.att + m.pos_embed)).repeat_interleave(K, 0)
    positions = [[t / 10000 ** (i // 2 * 2 / H) for i in range(H)] for t in range(T)]
    positions = torch.tensor(positions).double()
    positions = torch.where(torch.arange(H) % 2 == 0, positions.sin(), positions.cos())
    assert torch.allclose(sinusoids(0, T, H, positions), positions, atol=1e-6)
    x = (m.embed(tokens) * H**0.5 + sinusoids(0, T, H, positions)).flatten(0, 1)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    expected = decoder(x, memory, tgt_mask=future).view(B, K, T, H)
    assert torch.allclose(force(m, features, tokens)[0], expected, rtol=0, atol=1e-12)


def torch_state_dict(
    layers: nn.ModuleList, norm: nn.Module, attributes: list, names: list
) -> dict[str, Tensor]:
    """The weights of `layers` under the names of torch.nn."""
    state = {f"norm.{k}": v for k, v in norm.state_dict().items()}
    for i, layer in enumerate(layers):
        modules = {f"norm{n + 1}": module for n, module in enumerate(layer.norms)}
        modules |= {"linear1": layer.feed[0], "linear2": layer.feed[2]}
        for attribute, name in zip(attributes, names, strict=True):
            attention = getattr(layer, attribute)
            modules[f"{name}.out_proj"] = attention.merge
            for kind in ("weight", "bias"):
                projections = [getattr(p, kind) for p in (attention.query, attention.memory)]
                state[f"layers.{i}.{name}.in_proj_{kind}"] = torch.cat(projections)
        for name, module in modules.items():
            state |= {f"layers.{i}.{name}.{k}": v for k, v in module.state_dict().items()}
    return state


def test_transformer_attention_is_the_mean_of_the_heads() -> None:
    m, features, tokens = build_decoder("transformer", embedding=H)
    layer, attention = m.decoder[0], force(m, features, tokens)[1]
    context = []
    layer.norms[1].register_forward_hook(lambda _, __, x: context.append(x))
    force(m, features, tokens)[0]
    x, keys, a = context[-1], m.begin(features).image[1], layer.regions
    q = F.linear(x, a.query.weight, a.query.bias).view(B, K * T, 2, H // 2)
    keys = keys.view(B, R, 2, H // 2)
    scores = torch.einsum("bqhd,brhd->bhqr", q, keys) / (H // 2) ** 0.5
    assert torch.allclose(attention, scores.softmax(-1).mean(1).view(B, K, T, R), rtol=0)


def test_transformer_refuses_other_grids_and_unequal_sizes() -> None:
    m, features, _ = build_decoder("transformer", embedding=H, regions=R)
    with pytest.raises(ValueError, match="a grid of 5 regions, the features have 4"):
        m.begin(features._replace(att=features.att[:, 1:]))
    with pytest.raises(ValueError, match="embedding 6 must equal --hidden 8"):
        build_decoder("transformer")
