"""A captioner in Python: load a model, caption any picture.

    captioner = Captioner.load("runs/default")  # a run, a model file, or the name of a model
    for caption in captioner.captions(["photo.jpg"], beam=5, n=3)[0]:
        print(caption.text, caption.log_prob)

In: files, PIL images or arrays. Out: captions with their words, log-probabilities and attention;
a file has the same caption as in caption.sample.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from caption import models
from caption.decoding.captioned_image import CaptionedImage
from caption.decoding.decode import Caption, DecodeOptions, decode
from caption.decoding.flags import apply_flags
from caption.models import Decoder, Features, Shape
from caption.models.compatibility import rename_weights
from caption.pretrained import DEFAULT, MODELS, model_file, model_name
from caption.pretrained.model_format import read_model
from prepro import encoders
from prepro.encoders import Encoder
from prepro.encoders.memory import channels_last
from prepro.encoders.pooling import pool
from prepro.images import to_rgb
from prepro.transform import Transform
from prepro.vocabulary import Vocabulary

SCENE_WORDS = frozenset(
    "a above an and are below blue circle circles cross crosses green i is left of one orange over "
    "picture purple red right see shows square squares star stars the there this three to triangle "
    "triangles two under yellow".split()
)
"""all words of the drawn scenes of prepro.scenes"""

DECODE_ARGUMENTS = {"ids", "seed", "need_attention", "frequencies"}
Picture = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True, repr=False)
class Captioner:
    """An encoder, a decoder and their vocabulary."""

    encoder_info: dict
    """the encoder's name, its transform and the hash of its weights"""
    make_encoder: Callable[[], Encoder]
    decoder: Decoder
    vocabulary: Vocabulary
    regions: int
    """side of the grid of regions; 0 for a decoder that uses the pooled feature vector only"""
    decoding: DecodeOptions
    run: dict
    """the training config, the data and the validation scores"""
    path: Path
    """the model file"""

    @classmethod
    def load(cls, run: str | Path | None = None, device: torch.device | str = "cpu") -> "Captioner":
        """Load a run's folder, a model file, or a model of caption.pretrained by its name.

        Raises FileNotFoundError, or ValueError for a file that is not a captioning model.
        """
        path = model_file(run)
        header, decoder_tensors, encoder_tensors = read_model(path)
        decoder = models.build(header["decoder"], Shape(**header["shape"]))
        decoder.load_state_dict(rename_weights(decoder_tensors))
        return cls(
            header["encoder"],
            partial(_load_encoder, header["encoder"], encoder_tensors, path, device),
            decoder.to(device).eval(),
            Vocabulary(tuple(header["words"])),
            header["regions"],
            DecodeOptions.from_stored(header["decoding"]),
            header["run"],
            path,
        )

    def __repr__(self) -> str:
        return f"Captioner({self.description})"

    @property
    def origin(self) -> str:
        """What the model was trained on."""
        return self.run.get("trained_on") or Path(self.run["config"]["data"]).name

    @property
    def knows_scenes_only(self) -> bool:
        """Whether the model was trained on the drawn scenes of prepro.scenes."""
        return set(self.vocabulary.words) <= SCENE_WORDS

    @property
    def description(self) -> str:
        """One line: which model this is, and what it was trained on."""
        origin = self.origin
        if self.knows_scenes_only:
            origin += ": drawn shapes only, it cannot describe photographs"
            origin += f"; --run {DEFAULT} can" if DEFAULT in MODELS else ""
        return f"{model_name(self.path)} ({self.run['config']['decoder']}, trained on {origin})"

    @cached_property
    def encoder(self) -> Encoder:
        """Built when the first image is encoded; stored features need no encoder.

        ValueError if downloaded weights have changed, and for features of another system.
        """
        return self.make_encoder()

    def encode_batch(self, pixels: Tensor) -> Features:
        """`pixels` (B, 3, H, W) uint8, as the encoder's transform returns them."""
        with torch.inference_mode():
            x = self.encoder.transform.normalise(pixels.to(self.device))
            grid = self.encoder.network.features(x.contiguous(memory_format=torch.channels_last))
            fc, att = pool(grid, self.regions)
        return Features(fc.float(), None if att is None else att.float())

    def encode_images(self, images: Sequence[Image.Image]) -> Features:
        """The features of upright RGB images."""
        return self.encode_pixels([self.pixels(image) for image in images])

    def pixels(self, image: Image.Image) -> Tensor:
        """(3, H, W) uint8, as the encoder's transform returns them."""
        return torch.from_numpy(self.encoder.transform.pixels(image))

    def encode_pixels(self, pixels: Sequence[Tensor]) -> Features:
        """The features of images (3, H, W) uint8, whose sizes may differ."""
        if len({image.shape for image in pixels}) == 1:
            return self.encode_batch(torch.stack(tuple(pixels)))
        each = [self.encode_batch(image[None]) for image in pixels]
        fc, att, _ = zip(*each, strict=True)
        return Features(torch.cat(fc), torch.cat(att) if self.regions else None)

    def captions(
        self, images: Sequence[Picture], options: DecodeOptions | None = None, **more
    ) -> list[CaptionedImage]:
        """The n best captions of each picture: a file, its bytes, a PIL image or an array.

        `more` are fields of DecodeOptions, such as beam=5, n=3, and arguments of
        caption.decoding.decode. Raises prepro.images.BadImage for a picture that cannot be read,
        ValueError for other options.
        """
        if isinstance(images, Picture):
            raise ValueError(f"captions takes a list of pictures, not one {type(images).__name__}")
        side = self.encoder.transform.resize
        pictures = [to_rgb(image, side) for image in images]
        pixels = [self.pixels(picture) for picture in pictures]
        arguments = {name: more.pop(name) for name in DECODE_ARGUMENTS & more.keys()}
        options = apply_flags(more, options or self.decoding)
        arguments.setdefault("need_attention", self.regions > 0)
        found = self.captions_of_pixels(pixels, options, **arguments)
        return [CaptionedImage(*pair) for pair in zip(pictures, found, strict=True)]

    def captions_of_pixels(
        self, pixels: Sequence[Tensor], options: DecodeOptions, **arguments: object
    ) -> list[list[Caption]]:
        """The n best captions of images (3, H, W) uint8, as the encoder's transform returns them.

        `arguments` are those of caption.decoding.decode.
        """
        with torch.inference_mode():
            features = self.encode_pixels(pixels)
            return decode(self.decoder, features, options, self.vocabulary, **arguments)

    def sentences(self, images: Sequence[Picture]) -> list[str]:
        """The best caption of each picture, as text."""
        return [best.text for best, *_ in self.captions(images)]

    def log_probs(
        self, tokens: Tensor, fc: Tensor, att: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The log-probabilities (B, K, T, V + 1) float32 of the token after each of `tokens`.

        `tokens` (B, K, T) int64 begin with 0; `fc` (B, D), `att` (B, R, D), and `mask` (B, R) bool,
        False for a region that is padding.
        """
        with torch.inference_mode():
            return self.decoder(self._features(fc, att, mask), tokens.to(self.device)).float()

    def captions_of(
        self, fc: Tensor, att: Tensor | None = None, mask: Tensor | None = None,
        ids: Sequence[int | str] | None = None, seed: int = 0, **options: object,
    ) -> list[list[Caption]]:  # fmt: skip
        """The captions of features as in `log_probs`; `options` are fields of DecodeOptions.

        Those that are not given are the model's own.
        """
        with torch.inference_mode():
            features = self._features(fc, att, mask)
            decoding = apply_flags(options, self.decoding)
            return decode(self.decoder, features, decoding, self.vocabulary, ids=ids, seed=seed)

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    def _features(self, fc: Tensor, att: Tensor | None, mask: Tensor | None) -> Features:
        given = Features(fc, att, None if mask is None else mask.bool())
        return Features(*(None if t is None else t.to(self.device) for t in given))


def _load_encoder(
    about: dict, tensors: dict[str, Tensor], path: Path, device: torch.device | str
) -> Encoder:
    if not about["sha256"] or about.get("transform") == {}:
        raise ValueError(
            f"{path}: trained on features of another system, so it cannot encode pictures; caption "
            "stored features with caption.generate --data"
        )
    if about["public"]:
        encoder = encoders.create_encoder(about["encoder"], about["weights"])
        if encoder.sha256 != about["sha256"]:
            raise ValueError(
                f"{path}: trained with other weights than {about['weights']} has today"
            )
        if about.get("transform"):  # it may differ from the weights' own
            encoder = replace(encoder, transform=Transform.from_dict(about["transform"]))
    else:
        encoder = encoders.from_state_dict(about, tensors, str(path))
    channels_last(encoder.network.to(device)).eval()
    return encoder
