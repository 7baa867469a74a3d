"""Each decoder against its paper's formulas, written out for one caption and one word at a time."""

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


def made(name: str, **sizes: int) -> tuple[Decoder, Features, Tensor]:
    torch.manual_seed(3)
    shape = Shape(CLASSES, D, **{"embedding": E, "hidden": H, "heads": 2, **sizes})
    decoder = build(name, shape).double().eval().requires_grad_(False)
    features = Features(torch.randn(B, D).double(), torch.randn(B, R, D).double())
    return decoder, features, torch.randint(CLASSES, (B, K, T))


def check(decoder: Decoder, features: Features, words: Tensor, paper: Paper) -> None:
    """`paper(decoder, fc, att, words)` yields a hidden (H,) for each word of one caption."""
    hidden = force(decoder, features, words)[0]
    for b in range(B):
        for k in range(K):
            expected = list(paper(decoder, features.fc[b], features.att[b], words[b, k]))
            assert torch.allclose(hidden[b, k], torch.stack(expected), rtol=0, atol=1e-12)


def look(attend: AdditiveAttention, h: Tensor, values: Tensor) -> Tensor:
    scores = [
        attend.score.weight[0] @ torch.tanh(attend.key(v) + attend.query.weight @ h) for v in values
    ]
    return torch.stack(scores).softmax(0)


def lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.view(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def show_tell(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    cell = nn.LSTMCell(E, H).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in m.lstm.state_dict().items()})
    h, c = cell(m.project(fc))
    for w in words:
        h, c = cell(m.embed(w), (h, c))
        yield h


def newfc(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    h = c = torch.zeros(H).double()
    for n, x in enumerate([m.project(fc), *m.embed(words)]):
        i, f, o, z1, z2 = (m.from_input(x) + m.from_hidden(h)).view(5, -1)
        c = i.sigmoid() * torch.maximum(z1, z2) + f.sigmoid() * c
        h = o.sigmoid() * c.tanh()
        if n:
            yield h


def show_attend_tell(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    a = m.project(att).relu()
    h, c = m.first(a.mean(0)).tanh().view(2, -1)
    for w in words:
        z = m.gate(h).sigmoid() * (look(m.attend, h, a) @ a)
        h, c = lstm(m.from_word(m.embed(w)) + m.recur(torch.cat([z, h])), c)
        yield m.deep(torch.cat([m.embed(w), h, z])).tanh()


def att2in(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    values = m.project(att).relu()
    h = c = torch.zeros(H).double()
    for w in words:
        seen = m.from_seen(look(m.attend, h, values) @ values).view(2, -1)
        i, f, o, *z = (m.from_word(m.embed(w).relu()) + m.from_hidden(h)).view(5, -1)
        c = i.sigmoid() * torch.maximum(z[0] + seen[0], z[1] + seen[1]) + f.sigmoid() * c
        h = o.sigmoid() * c.tanh()
        yield h


def adaptive(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    values, whole = m.project(att).relu(), m.project_mean(att.mean(0)).relu()
    h = c = torch.zeros(H).double()
    for w in words:
        gates = m.from_word(m.embed(w)) + m.from_image(whole) + m.from_hidden(h)
        h, c = lstm(gates[: 4 * H], c)
        s = gates[4 * H :].sigmoid() * c.tanh()
        z = [m.attend.key(v) for v in values] + [m.sentinel_key(s)]
        z = [m.attend.score((key + m.attend.query(h)).tanh()) for key in z]
        weights = torch.cat(z).softmax(0)  # equation 12: the last is beta
        yield weights[:-1] @ values + weights[-1] * s + h


def topdown(m: Decoder, fc: Tensor, att: Tensor, words: Tensor) -> Iterator[Tensor]:
    values = m.project_att(att).relu()
    h1 = c1 = h2 = c2 = torch.zeros(H).double()
    for w in words:
        x = m.from_word(m.embed(w).relu()) + m.from_image(m.project_fc(fc).relu())
        h1, c1 = lstm(x + m.from_hidden(torch.cat([h2, h1])), c1)
        seen = look(m.attend, h1, values) @ values
        h2, c2 = lstm(m.language(torch.cat([seen, h1, h2])), c2)
        yield h2


PAPERS = [show_tell, newfc, show_attend_tell, att2in, adaptive, topdown]


def test_every_decoder_is_checked() -> None:
    assert {paper.__name__ for paper in PAPERS} | {"transformer"} == set(DECODERS)


@pytest.mark.parametrize("paper", PAPERS)
def test_recurrent_decoders(paper: Paper) -> None:
    check(*made(paper.__name__), paper)


def test_transformer_is_pytorchs() -> None:
    """nn.TransformerEncoder and nn.TransformerDecoder with the same weights, norm first."""
    m, features, words = made("transformer", embedding=H, layers=2, regions=R)
    options = dict(dropout=0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoderLayer(H, 2, 4 * H, **options)
    encoder = nn.TransformerEncoder(encoder, 2, nn.LayerNorm(H), enable_nested_tensor=False)
    decoder = nn.TransformerDecoderLayer(H, 2, 4 * H, **options)
    decoder = nn.TransformerDecoder(decoder, 2, nn.LayerNorm(H))
    encoder.double().load_state_dict(theirs(m.encoder, m.encoded, ["regions"], ["self_attn"]))
    names = (["words", "regions"], ["self_attn", "multihead_attn"])
    decoder.double().load_state_dict(theirs(m.decoder, m.decoded, *names))
    memory = encoder(m.project(features.att + m.pos_embed)).repeat_interleave(K, 0)
    places = [[t / 10000 ** (i // 2 * 2 / H) for i in range(H)] for t in range(T)]
    places = torch.tensor(places).double()
    places = torch.where(torch.arange(H) % 2 == 0, places.sin(), places.cos())
    assert torch.allclose(sinusoids(0, T, H, places), places, atol=1e-6)
    x = (m.embed(words) * H**0.5 + sinusoids(0, T, H, places)).flatten(0, 1)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    expected = decoder(x, memory, tgt_mask=future).view(B, K, T, H)
    assert torch.allclose(force(m, features, words)[0], expected, rtol=0, atol=1e-12)


def theirs(layers: nn.ModuleList, norm: nn.Module, ours: list, names: list) -> dict[str, Tensor]:
    """The weights of our layers under PyTorch's names."""
    state = {f"norm.{k}": v for k, v in norm.state_dict().items()}
    for i, layer in enumerate(layers):
        parts = {f"norm{n + 1}": part for n, part in enumerate(layer.norms)}
        parts |= {"linear1": layer.feed[0], "linear2": layer.feed[2]}
        for mine, name in zip(ours, names, strict=True):
            attention = getattr(layer, mine)
            parts[f"{name}.out_proj"] = attention.merge
            for kind in ("weight", "bias"):
                both = [getattr(p, kind) for p in (attention.query, attention.memory)]
                state[f"layers.{i}.{name}.in_proj_{kind}"] = torch.cat(both)
        for name, part in parts.items():
            state |= {f"layers.{i}.{name}.{k}": v for k, v in part.state_dict().items()}
    return state


def test_transformer_attention_is_the_mean_of_the_heads() -> None:
    m, features, words = made("transformer", embedding=H)
    layer, attention = m.decoder[0], force(m, features, words)[1]
    seen = []
    layer.norms[1].register_forward_hook(lambda _, __, x: seen.append(x))
    force(m, features, words)[0]
    x, keys, a = seen[-1], m.begin(features).image[1], layer.regions
    q = F.linear(x, a.query.weight, a.query.bias).view(B, K * T, 2, H // 2)
    keys = keys.view(B, R, 2, H // 2)
    scores = torch.einsum("bqhd,brhd->bhqr", q, keys) / (H // 2) ** 0.5
    assert torch.allclose(attention, scores.softmax(-1).mean(1).view(B, K, T, R), rtol=0)


def test_transformer_refuses_another_grid_and_unequal_sizes() -> None:
    m, features, _ = made("transformer", embedding=H, regions=R)
    with pytest.raises(ValueError, match="a grid of 5 regions, the features have 4"):
        m.begin(features._replace(att=features.att[:, 1:]))
    with pytest.raises(ValueError, match="embedding 6 must equal --hidden 8"):
        made("transformer")
