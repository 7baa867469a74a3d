"""An exported captioner on onnxruntime: pictures in, captions out, without torch.

captioner = OnnxCaptioner.load("captioner")
captioner.captions("photo.jpg", beam=5)[0].text
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from caption.decoding.flags import apply_flags
from caption.onnx.folder import GRAPHS, SUPPORTED, Manifest, read_manifest, require_whole
from caption.onnx.search import Hypothesis, search
from eval.tokenizer import detokenize
from prepro.images import to_rgb

Picture = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True)
class OnnxCaption:
    words: tuple[str, ...]
    log_prob: float
    attention: tuple[np.ndarray, ...]
    """(R,) for each word; empty without attention"""

    @property
    def text(self) -> str:
        return detokenize(list(self.words))


@dataclass(frozen=True)
class OnnxCaptioner:
    """The graphs of a folder, with its captioner.json."""

    manifest: Manifest
    sessions: dict

    @classmethod
    def load(cls, folder: str | Path, threads: int = 0) -> "OnnxCaptioner":
        """`threads` 0: as many as onnxruntime chooses.

        FileNotFoundError, or ValueError for a folder that caption.export has not written.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        paths = {name: folder / f"{name}.onnx" for name in GRAPHS}
        for path in paths.values():
            require_whole(path, manifest)
        sessions = {name: open_graph(path, threads) for name, path in paths.items()}
        return cls(manifest, sessions)

    def captions(self, picture: Picture, **options) -> list[OnnxCaption]:
        """The n best captions; `options` are the fields of DecodeOptions in folder.SUPPORTED.

        Raises prepro.images.BadImage, or ValueError for other options.
        """
        unknown = options.keys() - set(SUPPORTED)
        if unknown:
            raise ValueError(f"{min(unknown)} is not supported here; use caption.sample")
        decoding = apply_flags(options, self.manifest.decoding)
        image, rows = self.begin(*self.encode(picture))

        def step(tokens: np.ndarray, rows: tuple) -> tuple:
            return self.step(tokens, image, rows)

        found = search(step, rows, decoding, self.manifest.words)
        return [self._caption(hypothesis) for hypothesis in found]

    def encode(self, picture: Picture) -> list[np.ndarray]:
        """fc (1, D), and att (1, R, D) for a decoder with attention."""
        transform = self.manifest.transform
        pixels = transform.pixels(to_rgb(picture, transform.resize))[None]
        return self.sessions["encoder"].run(None, {"pixels": pixels})

    def begin(self, *features: np.ndarray) -> tuple[tuple, tuple]:
        """The image tensors (1, ...) and the rows (1, 1, ...) before the first token."""
        names = ("fc", "att")[: len(features)]
        found = self.sessions["begin"].run(None, dict(zip(names, features, strict=True)))
        count = self.manifest.image_tensors
        return tuple(found[:count]), tuple(found[count:])

    def step(self, tokens: np.ndarray, image: tuple, rows: tuple) -> tuple:
        """caption.onnx.search.Step, for the `image` tensors of begin."""
        session, count = self.sessions["step"], self.manifest.row_tensors
        tensors = {f"image_{i}": t for i, t in enumerate(image)}
        tensors |= {f"rows_{i}": t for i, t in enumerate(rows)}
        tensors["tokens"] = tokens[None]
        inputs = {node.name: tensors[node.name] for node in session.get_inputs()}
        log_probs, *rest = session.run(None, inputs)
        attention = rest[count][0] if len(rest) > count else None
        return log_probs[0], tuple(rest[:count]), attention

    def _caption(self, found: Hypothesis) -> OnnxCaption:
        words = tuple(self.manifest.words[token - 1] for token in found.tokens)
        return OnnxCaption(words, found.log_prob, found.attention[: len(words)])


def open_graph(path: Path, threads: int):
    """The onnxruntime.InferenceSession of a file. ValueError for one that is no graph."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            "caption.onnx needs onnxruntime: pip install 'resnet-caption[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class but this
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a graph that onnxruntime reads ({reason})") from None
