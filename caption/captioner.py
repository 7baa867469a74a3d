"""The portable model: one file in, captions of any picture out.

    from caption.captioner import Captioner
    captioner = Captioner.load("runs/default/model.safetensors")
    print(captioner.sentences([open_rgb("image.jpg")]))

`model.safetensors` holds the decoder, the encoder unless its weights are public, and in its header
the config, the vocabulary, the encoder's transform, the decoding defaults and the metrics. It is
read without pickle, and needs no other file.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from caption import models
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.models import Decoder, Features, Shape
from caption.models.compatibility import rename_weights
from eval.files import whole_file
from prepro import encoders
from prepro.encoders import Encoder
from prepro.encoders.pooling import pool
from prepro.transform import Transform
from prepro.vocabulary import Vocabulary

VERSION = 1
HEADER = ("version", "decoder", "shape", "words", "encoder", "regions", "decoding", "run")


@dataclass(frozen=True)
class Captioner:
    """An encoder, a decoder and the words between them."""

    seen_by: dict
    """the encoder's header: its name, its transform, the hash of its weights"""
    make_encoder: Callable[[], Encoder] = field(repr=False)
    decoder: Decoder
    vocabulary: Vocabulary
    regions: int
    """side of the grid of regions; 0 for a decoder that reads the pooled vector alone"""
    decoding: DecodeOptions
    run: dict
    """where it comes from: the training config, the metrics, the data"""

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "Captioner":
        """Raises FileNotFoundError, or ValueError for what is not such a file."""
        path = Path(path)
        header, tensors = _read(path)
        decoder = models.build(header["decoder"], Shape(**header["shape"]))
        decoder.load_state_dict(rename_weights(_under("decoder.", tensors)))
        own = _under("encoder.", tensors)
        return cls(
            header["encoder"],
            partial(_encoder, header["encoder"], own, path, device),
            decoder.to(device).eval(),
            Vocabulary(tuple(header["words"])),
            header["regions"],
            DecodeOptions(**header["decoding"]),
            header["run"],
        )

    @cached_property
    def encoder(self) -> Encoder:
        """Built when a picture is first looked at: stored features need none.

        ValueError for public weights that have changed, and for features of another system.
        """
        return self.make_encoder()

    def features(self, pixels: Tensor) -> Features:
        """`pixels` (B, 3, H, W) uint8, as the encoder's transform makes them."""
        device = next(self.decoder.parameters()).device
        with torch.inference_mode():
            x = self.encoder.transform.normalise(pixels.to(device))
            grid = self.encoder.network.features(x.contiguous(memory_format=torch.channels_last))
            fc, att = pool(grid, self.regions)
        return Features(fc.float(), None if att is None else att.float())

    def look(self, pictures: Sequence[Image.Image]) -> Features:
        """What the encoder sees of upright RGB pictures."""
        return self.see([self.pixels(picture) for picture in pictures])

    def pixels(self, picture: Image.Image) -> Tensor:
        """(3, H, W) uint8, as the encoder's transform makes them."""
        return torch.from_numpy(self.encoder.transform.pixels(picture))

    def see(self, pixels: Sequence[Tensor]) -> Features:
        """`features` of pictures (3, H, W) that need not be of one size."""
        if len({one.shape for one in pixels}) == 1:
            return self.features(torch.stack(tuple(pixels)))
        each = [self.features(one[None]) for one in pixels]
        fc, att, _ = zip(*each, strict=True)
        return Features(torch.cat(fc), torch.cat(att) if self.regions else None)

    def captions(
        self, pictures: Sequence[Image.Image], options: DecodeOptions | None = None, **more
    ) -> list[list[Caption]]:
        """The n best captions of each upright RGB picture; `more` goes to caption.decoding.decode."""
        features = self.look(pictures)
        with torch.inference_mode():
            return decode(self.decoder, features, options or self.decoding, self.vocabulary, **more)

    def sentences(self, pictures: Sequence[Image.Image]) -> list[str]:
        """The best caption of each picture, as text."""
        return [self.vocabulary.sentence(best.token_ids) for best, *_ in self.captions(pictures)]


def write_model(
    path: Path,
    decoder: Decoder,
    words: Sequence[str],
    encoder: dict,
    encoder_tensors: dict[str, Tensor],
    regions: int,
    decoding: DecodeOptions,
    run: dict,
) -> None:
    """Write the portable file, whole or not at all.

    `encoder` is Encoder.metadata() with public, weights and sha256; `encoder_tensors` its state
    dict, or {} for one whose weights are public.
    """
    name = next(name for name, kind in models.DECODERS.items() if type(decoder) is kind)
    values = (
        VERSION, name, asdict(decoder.shape), list(words), encoder, regions, asdict(decoding), run,
    )  # fmt: skip
    header = {key: json.dumps(value) for key, value in zip(HEADER, values, strict=True)}
    tensors = {f"decoder.{k}": v for k, v in decoder.state_dict().items()}
    tensors |= {f"encoder.{k}": v for k, v in encoder_tensors.items()}
    with whole_file(path) as partial:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, header)


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model; train one with python -m caption.train")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    missing = [key for key in HEADER if key not in metadata]
    if missing:
        raise ValueError(f"{path}: not a captioning model; its header lacks {missing[0]!r}")
    header = {key: json.loads(metadata[key]) for key in HEADER}
    if header["version"] != VERSION:
        raise ValueError(f"{path}: version {header['version']}, this code reads {VERSION}")
    return header, tensors


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _encoder(
    about: dict, tensors: dict[str, Tensor], path: Path, device: torch.device | str
) -> Encoder:
    if not about["sha256"]:
        raise ValueError(
            f"{path}: trained on features that another system made; it cannot look at pictures"
        )
    if about["public"]:
        encoder = encoders.create_encoder(about["encoder"], about["weights"])
        if encoder.sha256 != about["sha256"]:
            raise ValueError(f"{path}: made with other weights than today's {about['weights']}")
        if about.get("transform"):  # pictures were read in another way than the weights' own
            encoder = replace(encoder, transform=Transform.from_dict(about["transform"]))
    else:
        encoder = encoders.from_state_dict(about, tensors, str(path))
    encoder.network.to(device, memory_format=torch.channels_last).eval()
    return encoder
