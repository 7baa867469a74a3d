"""The options of a training run: its command line, its config.json and its checkpoints' config.

In: flags, a preset's name, or the JSON of an earlier run. Out: one frozen, checked TrainConfig.
A preset is a Python function that returns the defaults to start from; flags then change them.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from eval import command
from eval.files import read_json

DECODERS = (
    "show_tell", "newfc", "show_attend_tell", "att2in", "adaptive", "topdown", "transformer",
)  # fmt: skip
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "captions_per_image": (1, 100),
    "hidden": (1, 16_384),
    "embedding": (1, 16_384),
    "layers": (1, 64),
    "dropout": (0, 0.99),
    "learning_rate": (0, 10),
    "decay_rate": (0, 1),
    "decay_every": (0, 100_000),
    "warmup": (0, 10_000_000),
    "weight_decay": (0, 10),
    "clip": (0, 1e6),
    "label_smoothing": (0, 0.99),
    "scheduled_sampling": (0, 1),
    "accumulate": (1, 65_536),
    "ema": (0, 0.999999),
    "patience": (0, 100_000),
    "finetune_after": (-1, 100_000),
    "finetune_layers": (1, 100),
    "encoder_learning_rate": (0, 10),
    "workers": (0, 256),
}


@dataclass(frozen=True)
class TrainConfig:
    """Train a decoder on the features and captions of a data folder.

    --preset NAME starts from other defaults: show_tell, att2in, topdown, transformer, scenes
    (scenes is what a bare `python -m caption.train` uses). --print-config shows what would run.

    Example: python -m caption.train --data data/coco --out runs/topdown --preset topdown
    """

    data: Path = Path("data/scenes")
    """the data folder, with labels.json, labels.h5 and features.h5"""
    out: Path = Path("runs/default")
    """the run's folder"""
    resume: bool = False
    """go on from the run's last checkpoint, bit for bit"""
    decoder: Literal[DECODERS] = "topdown"
    """which paper's decoder"""
    hidden: int = 512
    """H, units of the LSTM or width of the transformer"""
    embedding: int = 512
    """E, size of a word's vector"""
    layers: int = 1
    """layers of the LSTM, or of the transformer's encoder and of its decoder"""
    dropout: float = 0.5
    """on embeddings, projected features and before the classifier"""
    epochs: int = 30
    """passes over the training pictures"""
    batch_size: int = 10
    """pictures a batch, over all processes together"""
    captions_per_image: int = 5
    """captions a picture and step, drawn anew each epoch"""
    learning_rate: float = 5e-4
    """Adam's; falls by --decay-rate every --decay-every epochs"""
    decay_rate: float = 0.8
    """factor of the learning rate at each decay"""
    decay_every: int = 3
    """epochs between decays; 0 for none"""
    warmup: int = 0
    """steps over which the learning rate rises from 0"""
    weight_decay: float = 0.0
    """decoupled (AdamW)"""
    clip: float = 0.1
    """bound of the gradient; 0 for none"""
    clip_mode: Literal["value", "norm"] = "value"
    """clip each element, or the norm of all"""
    label_smoothing: float = 0.0
    """share of the target spread over all words"""
    scheduled_sampling: float = 0.0
    """highest chance that a word is fed from the model's own samples; +0.05 every 5 epochs"""
    accumulate: int = 1
    """batches whose gradients are summed before a step"""
    ema: float = 0.0
    """decay of the average of the weights that is validated and kept; 0 for none"""
    patience: int = 0
    """validations without a better CIDEr before the next stage begins or training ends; 0: never"""
    finetune_after: int = -1
    """epochs before the encoder is trained too, from the pictures; 0 at once, -1 never"""
    finetune_layers: int = 2
    """stages of the encoder that learn then, counted from its end; all with --finetune-layers 9"""
    encoder_learning_rate: float = 1e-5
    """the encoder's; falls like the decoder's, counted from where fine-tuning began"""
    save_memory: bool = False
    """compute the encoder's activations twice instead of keeping them: a third slower"""
    workers: int = max(1, (os.cpu_count() or 2) // 2)
    """processes that decode pictures while the encoder is trained"""
    seed: int = 123
    """of initial weights, order of pictures, choice of captions and dropout"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    features_in: Literal["auto", "device", "memory", "disk"] = "auto"
    """where features live while training; auto is the fastest place with room"""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"--{name.replace('_', '-')} {value}: not within {low} and {high}")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_dict(cls, values: dict, source: str) -> "TrainConfig":
        """What to_json wrote. ValueError names an unknown key and the nearest valid one."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1, 0)[0]
                raise ValueError(f"{source}: unknown key {key!r}; did you mean {near!r}?")
        for name, field in fields.items():
            _check_kind(values.get(name, field.default), field, source)
        return cls(**{k: Path(v) if fields[k].type is Path else v for k, v in values.items()})

    def require_same(self, earlier: "TrainConfig") -> None:
        """ValueError unless a checkpoint of `earlier` can go on with this config."""
        for name in LASTING:
            mine, theirs = getattr(self, name), getattr(earlier, name)
            if mine != theirs:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(f"{self.out}: trained with {flag} {theirs}, not {mine}; keep it")


LASTING = (
    "decoder", "hidden", "embedding", "layers", "ema", "seed", "batch_size", "captions_per_image",
    "accumulate",
)  # fmt: skip
"""what a run's weights and its order of pictures depend on"""


def _check_kind(value: object, field: dataclasses.Field, source: str) -> None:
    """ValueError for a value of another type than the field's: "yes" for a bool, 1.5 for an int."""
    kinds = {bool: bool, int: int, float: (int, float), str: str, Path: (str, Path)}
    kind = kinds.get(field.type, str)
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise ValueError(f"{source}: {field.name} is {value!r}, expected {kind}")
    choices = get_args(field.type)
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1, 0)[0]
        raise ValueError(f"{source}: {field.name} is {value!r}; did you mean {near!r}?")


def show_tell() -> TrainConfig:
    """neuraltalk2's decoder on the pooled vector (Vinyals et al. 2015)."""
    return TrainConfig(decoder="show_tell", learning_rate=4e-4)


def att2in() -> TrainConfig:
    """The attention decoder of self-critical training (Rennie et al. 2017)."""
    return TrainConfig(decoder="att2in")


def topdown() -> TrainConfig:
    """Top-Down attention with its own sizes (Anderson et al. 2018)."""
    return TrainConfig(decoder="topdown", hidden=1000, embedding=1000)


def transformer() -> TrainConfig:
    """Six layers of encoder and decoder, as self-critical.pytorch trains them."""
    return TrainConfig(
        decoder="transformer", layers=6, dropout=0.1, warmup=20_000, decay_every=0,
        label_smoothing=0.1,
    )  # fmt: skip


def scenes() -> TrainConfig:
    """Small and quick, for the embedded data set: minutes on a laptop."""
    return TrainConfig(
        hidden=256, embedding=128, dropout=0.1, epochs=4, captions_per_image=3,
        learning_rate=1.5e-3, decay_every=1, decay_rate=0.5, clip=1.0, clip_mode="norm",
    )  # fmt: skip


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    preset.__name__: preset for preset in (show_tell, att2in, topdown, transformer, scenes)
}


def from_command_line(argv: Sequence[str]) -> TrainConfig:
    """Flags over a preset: `--preset NAME`, else `scenes` for the embedded data set.

    With --resume, flags over the run's own config.json.
    ValueError, in one line, for an unknown flag, preset or value.
    """
    argv = list(argv)
    name = _take(argv, "--preset")
    if name is not None and name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1, 0)[0]
        raise ValueError(f"--preset {name}: did you mean {near}? all: {', '.join(PRESETS)}")
    default = PRESETS[name]() if name else TrainConfig()
    config = command.parse(TrainConfig, argv, default)
    if config.resume and (config.out / "config.json").is_file():
        path = config.out / "config.json"
        return command.parse(TrainConfig, argv, TrainConfig.from_dict(read_json(path), str(path)))
    if name is None and config.data == TrainConfig.data:
        return command.parse(TrainConfig, argv, scenes())
    return config


def _take(argv: list[str], flag: str) -> str | None:
    """Remove `flag VALUE` or `flag=VALUE` from `argv`; the value."""
    for index, word in enumerate(argv):
        if word.startswith(flag + "="):
            return argv.pop(index).partition("=")[2]
        if word == flag:
            if index + 1 == len(argv):
                raise ValueError(f"{flag} needs a value: {', '.join(PRESETS)}")
            argv.pop(index)
            return argv.pop(index)
    return None
