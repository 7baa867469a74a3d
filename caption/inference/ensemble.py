"""One run, or several that speak as one: what the commands ask for captions.

    ensemble = CaptionEnsemble.load([Path("runs/a"), Path("runs/b")])
    ensemble.captions([ensemble.open("image.jpg")], DecodeOptions(beam=5))

Each member sees a picture through its own encoder; their probabilities are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from caption.captioner import Captioner
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.decoding.ensemble import Ensemble
from caption.models import Decoder, Features
from prepro.images import open_rgb
from prepro.vocabulary import Vocabulary

LATEST = Path("runs/latest")


@dataclass(frozen=True)
class CaptionEnsemble:
    members: tuple[Captioner, ...]
    model: Decoder | Ensemble

    @classmethod
    def load(
        cls, runs: Sequence[Path] = (), device: torch.device | str = "cpu"
    ) -> "CaptionEnsemble":
        """`runs`: folders or files, runs/latest where there are none.

        FileNotFoundError, or ValueError for a file that is no model and for vocabularies that
        differ.
        """
        members = tuple(Captioner.load(file, device) for file in files(runs))
        if len(members) == 1:
            return cls(members, members[0].decoder)
        both = [member.decoder for member in members], [member.vocabulary for member in members]
        return cls(members, Ensemble(*both).eval())

    @property
    def vocabulary(self) -> Vocabulary:
        return self.members[0].vocabulary

    @property
    def decoding(self) -> DecodeOptions:
        """The defaults of the first run."""
        return self.members[0].decoding

    def open(self, source: str | Path) -> tuple[Image.Image, ...]:
        """A picture as each member reads it: a JPEG's scale depends on what is to become of it.

        Raises prepro.images.BadImage.
        """
        sides = [member.encoder.transform.resize for member in self.members]
        opened = {side: open_rgb(source, side) for side in dict.fromkeys(sides)}
        return tuple(opened[side] for side in sides)

    def look(self, pictures: Sequence[Sequence[Image.Image]]) -> Features | list[Features]:
        """What the encoders see of B opened pictures: features for `model`."""
        pairs = zip(self.members, zip(*pictures, strict=True), strict=True)
        return self.joined([member.look(own) for member, own in pairs])

    def joined(self, features: list[Features]) -> Features | list[Features]:
        """The features of each member as `model` takes them."""
        return features if len(self.members) > 1 else features[0]

    def captions(
        self, pictures: Sequence[Sequence[Image.Image]], options: DecodeOptions, **more
    ) -> list[list[Caption]]:
        """The n best captions of each opened picture; `more` goes to caption.decoding.decode."""
        return self.say(self.look(pictures), options, **more)

    def say(
        self, features: Features | list[Features], options: DecodeOptions, **more
    ) -> list[list[Caption]]:
        with torch.inference_mode():
            return decode(self.model, features, options, self.vocabulary, **more)


def files(runs: Sequence[Path]) -> list[Path]:
    """The model files of `runs`, of runs/latest where there are none."""
    return [run if run.is_file() else run / "model.safetensors" for run in runs or [LATEST]]
