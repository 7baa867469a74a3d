"""One run, or several whose probabilities are averaged.

    ensemble = CaptionEnsemble.load([Path("runs/a"), Path("runs/b")])
    ensemble.captions([ensemble.open_image("image.jpg")], DecodeOptions(beam=5))

Each member encodes an image with its own encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from caption.captioner import Captioner
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.decoding.ensemble_decoder import EnsembleDecoder
from caption.models import Decoder, Features
from prepro.images import open_rgb
from prepro.vocabulary import Vocabulary


@dataclass(frozen=True)
class CaptionEnsemble:
    members: tuple[Captioner, ...]
    model: Decoder | EnsembleDecoder

    @classmethod
    def load(
        cls, runs: Sequence[Path] = (), device: torch.device | str = "cpu"
    ) -> "CaptionEnsemble":
        """`runs` as Captioner.load takes them; its default if there are none.

        FileNotFoundError, or ValueError for a file that is no model and for vocabularies that
        differ.
        """
        members = tuple(Captioner.load(run, device) for run in runs or [None])
        if len(members) == 1:
            return cls(members, members[0].decoder)
        decoders = [member.decoder for member in members]
        vocabularies = [member.vocabulary for member in members]
        return cls(members, EnsembleDecoder(decoders, vocabularies).eval())

    @property
    def vocabulary(self) -> Vocabulary:
        return self.members[0].vocabulary

    @property
    def decoding(self) -> DecodeOptions:
        """The decoding defaults of the first run."""
        return self.members[0].decoding

    def open_image(self, source: str | Path) -> tuple[Image.Image, ...]:
        """An image as each member reads it: a JPEG is decoded at the scale that a member needs.

        Raises prepro.images.BadImage.
        """
        sides = [member.encoder.transform.resize for member in self.members]
        opened = {side: open_rgb(source, side) for side in dict.fromkeys(sides)}
        return tuple(opened[side] for side in sides)

    def encode(self, images: Sequence[Sequence[Image.Image]]) -> Features | list[Features]:
        """Features for `model`, of B images that `open_image` returned."""
        pairs = zip(self.members, zip(*images, strict=True), strict=True)
        return self.pack_features([member.encode_images(own) for member, own in pairs])

    def pack_features(self, features: list[Features]) -> Features | list[Features]:
        """The features of each member, in the form that `model` takes."""
        return features if len(self.members) > 1 else features[0]

    def captions(
        self, images: Sequence[Sequence[Image.Image]], options: DecodeOptions, **more
    ) -> list[list[Caption]]:
        """The n best captions of each opened image; `more` goes to caption.decoding.decode."""
        return self.decode(self.encode(images), options, **more)

    def decode(
        self, features: Features | list[Features], options: DecodeOptions, **more
    ) -> list[list[Caption]]:
        with torch.inference_mode():
            return decode(self.model, features, options, self.vocabulary, **more)
