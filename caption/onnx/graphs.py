"""The three graphs of a captioner as modules that torch.export traces.

    encoder  pixels (B, 3, H, W) uint8  -> fc (B, D), att (B, R, D)
    begin    fc, att                    -> image tensors (B, ...), rows (B, 1, ...)
    step     tokens (B, K), image tensors, rows (B, K, ...)
                                        -> log_probs (B, K, V + 1), rows, attention (B, K, R)

`rows` are the state of each hypothesis and go into the next step. B and K may be of any size, and
so may the length of a transformer's rows, which grow by one with each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim

from caption.captioner import Captioner
from caption.models import Decoder, Features, State
from prepro.encoders.pooling import pool

BATCH, BEAMS = Dim("batch", min=1, max=65_536), Dim("beams", min=1, max=1000)
LENGTH = Dim("length", min=0, max=1000)


@dataclass(frozen=True)
class Graph:
    """A module with example inputs, and the names and the dynamic dimensions of its tensors."""

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: tuple[dict[int, Dim], ...]
    """for each input, {dimension: name}"""

    def export(self) -> torch.export.ExportedProgram:
        """The program, which runs without the code of this project."""
        with torch.no_grad():
            return torch.export.export(
                self.module, self.example, dynamic_shapes=(self.dynamic,), strict=False
            )


class EncoderGraph(nn.Module):
    """Normalises pixels, encodes and pools them, and rounds as Captioner.encode_batch does."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.network = captioner.encoder.network
        self.transform, self.side = captioner.encoder.transform, captioner.regions

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        fc, att = pool(self.network.features(self.transform.normalise(pixels[0])), self.side)
        return (fc.float(),) if att is None else (fc.float(), att.float())


class BeginGraph(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        state = self.decoder.begin(Features(*features))
        return *state.image, *state.rows


class StepGraph(nn.Module):
    """A step of B * K hypotheses, each with its image's tensors."""

    def __init__(self, decoder: Decoder, n_image: int) -> None:
        super().__init__()
        self.decoder, self.n_image = decoder, n_image

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        tokens, image, rows = inputs[0], inputs[1 : 1 + self.n_image], inputs[1 + self.n_image :]
        b, k = tokens.shape
        image = tuple(t[:, None].expand(b, k, *t.shape[1:]).flatten(0, 1) for t in image)
        state = State(image, tuple(t.flatten(0, 1)[:, None] for t in rows))  # (B * K, 1, ...)
        log_probs, state, attention = self.decoder.step(tokens.flatten()[:, None], state)
        outputs = [log_probs, *state.rows, *(() if attention is None else (attention,))]
        row = torch.arange(b)[:, None] * k + torch.arange(k)
        return tuple(t[:, 0][row] for t in outputs)  # unflatten would forbid k = 1


def encoder_graph(captioner: Captioner) -> Graph:
    """ValueError for a transform whose pictures differ in size."""
    transform = captioner.encoder.transform
    if transform.mode == "full":
        raise ValueError("pictures of any size (transform mode full) cannot be exported")
    pixels = torch.zeros(2, 3, transform.crop, transform.crop, dtype=torch.uint8)
    outputs = ("fc", "att") if captioner.regions else ("fc",)
    module = EncoderGraph(captioner).eval()
    return Graph("encoder", module, (pixels,), ("pixels",), outputs, ({0: BATCH},))


def decoder_graphs(captioner: Captioner) -> tuple[Graph, Graph]:
    """The graphs that begin a caption and that read a token."""
    decoder, regions = captioner.decoder, captioner.regions**2 or captioner.decoder.shape.regions
    d = decoder.shape.features
    features: tuple[Tensor, ...] = (torch.randn(2, d),)
    if decoder.needs_regions:
        features += (torch.randn(2, regions or 36, d),)
    with torch.no_grad():
        state = decoder.begin(Features(*features))
    image = tuple(f"image_{i}" for i in range(len(state.image)))
    rows = tuple(f"rows_{i}" for i in range(len(state.rows)))
    begin = Graph(
        "begin", BeginGraph(decoder).eval(), features, ("fc", "att")[: len(features)],
        (*image, *rows), ({0: BATCH},) * len(features),
    )  # fmt: skip
    grows = [t.numel() == 0 for t in state.rows]  # a cache of keys or values
    example = [t.expand(2, 3, *t.shape[2:]).contiguous() for t in state.rows]
    for i, row in enumerate(example):
        if grows[i]:
            example[i] = row.new_zeros(2, 3, 4, row.shape[3])
    attention = ("attention",) if decoder.needs_regions else ()
    step = Graph(
        "step", StepGraph(decoder, len(image)).eval(),
        (torch.ones(2, 3, dtype=torch.int64), *state.image, *example),
        ("tokens", *image, *rows), ("log_probs", *(f"next_{name}" for name in rows), *attention),
        _step_dimensions(len(image), grows),
    )  # fmt: skip
    return begin, step


def _step_dimensions(n_image: int, grows: Sequence[bool]) -> tuple[dict[int, Dim], ...]:
    rows = [{0: BATCH, 1: BEAMS, **({2: LENGTH} if grown else {})} for grown in grows]
    return {0: BATCH, 1: BEAMS}, *({0: BATCH},) * n_image, *rows
