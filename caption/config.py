"""The options of a training run: its flags, its config.json and the config in its checkpoints.

In: values, or the JSON of an earlier run. Out: one frozen, checked TrainConfig. `caption.presets`
fills in the options that a command line does not give.
"""

import dataclasses
import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

MODELS = Path(__file__).parent / "models"
DECODERS = tuple(
    sorted(
        path.stem
        for path in MODELS.glob("*.py")
        if path.stem not in ("__init__", "base", "compatibility")
    )
)
"""the values of --decoder: every other file in caption/models; listed without importing torch"""
REGION_PROJECTIONS = ("", "none", "relu", "affine")
NORMS = ("variance", "deviation")
RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "captions_per_image": (1, 100),
    "hidden": (1, 16_384),
    "embedding": (1, 16_384),
    "layers": (1, 64),
    "dropout": (0, 0.99),
    "position_std": (0, 10),
    "attention": (0, 16_384),
    "decoder_layers": (0, 64),
    "feed_forward": (0, 65_536),
    "heads": (1, 1024),
    "norm_eps": (0, 1),
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
    "scst_after": (-1, 100_000),
    "scst_learning_rate": (0, 10),
    "scst_samples": (1, 1000),
    "scst_bleu": (0, 1000),
    "scst_cross_entropy": (0, 0.99),
    "workers": (0, 256),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class TrainConfig:
    """Train a decoder on the features and captions of a data folder.

    Example: python -m caption.train --data data/coco --out runs/topdown --preset topdown

    Rare options are flags too, though not listed here: --clip, --workers, --scst-samples and others
    that --print-config shows.
    """

    data: Path = Path("data/scenes")
    """the data folder with labels.json, labels.h5 and features.h5"""
    out: Path = Path("runs/default")
    """the folder of the run"""
    resume: bool = False
    """continue the run from its last checkpoint, bit for bit"""
    start: Path | None = None
    """start from the config and the best weights of a finished run, a model file or its name"""
    decoder: Literal[DECODERS] = "show_tell"
    """the decoder"""
    hidden: int = 512
    """units of the LSTM, or width of the transformer"""
    embedding: int = 512
    """size of the word embedding"""
    layers: int = 1
    """layers of the LSTM, or of the transformer's encoder and of its decoder"""
    dropout: float = 0.5
    """dropout of embeddings, projected features and the classifier's input"""
    position_std: float = 0.05
    """initial standard deviation of the position embedding of the regions"""
    positions: bool = True
    """learn the positions of the regions of a grid; earlier systems have none"""
    attention: int = 0
    """size of additive attention; 0: that of --hidden"""
    heads: int = 8
    """attention heads of a transformer"""
    decoder_layers: int = 0
    """layers of the transformer's decoder; 0: as many as --layers"""
    feed_forward: int = 0
    """width of the transformer's feed-forward layers; 0: four times --hidden"""
    norm_eps: float = 1e-5
    """epsilon of the transformer's LayerNorm"""
    norm: Literal[NORMS] = "variance"
    """what the transformer's LayerNorm adds epsilon to: the variance or the standard deviation"""
    region_projection: Literal[REGION_PROJECTIONS] = ""
    """what follows the linear layer of the regions: relu, or affine (ReLU, scale and shift); none:
    no such layer; by default what the decoder's paper has"""
    sentinel_layers: bool = False
    """adaptive attention with self-critical.pytorch's layers on the sentinel, on the hidden state
    and after the attention, on fc instead of the mean region"""
    epochs: int = 30
    """epochs, passes over the training pictures"""
    batch_size: int = 10
    """pictures in a batch, over all processes"""
    captions_per_image: int = 5
    """captions of each picture in a batch, drawn anew each epoch"""
    learning_rate: float = 4e-4
    """learning rate of Adam; it is multiplied by --decay-rate every --decay-every epochs"""
    decay_rate: float = 0.8
    """factor of the learning rate at each decay"""
    decay_every: int = 3
    """epochs between decays; 0 for none"""
    warmup: int = 0
    """steps over which the learning rate rises from 0"""
    weight_decay: float = 0.0
    """decoupled weight decay (AdamW)"""
    clip: float = 0.1
    """limit of the gradient; 0 for none"""
    clip_mode: Literal["value", "norm"] = "value"
    """clip each element of the gradient (value) or its norm (norm)"""
    label_smoothing: float = 0.0
    """label smoothing: probability that is spread over all words"""
    scheduled_sampling: float = 0.0
    """scheduled sampling: maximal probability that an input word is sampled from the model; it
    rises by 0.05 every 5 epochs"""
    accumulate: int = 1
    """batches whose gradients are summed before a step"""
    ema: float = 0.0
    """decay of the exponential moving average of the weights, which is validated and saved, warmed
    up over the first steps; 0 for none"""
    patience: int = 0
    """validations without a better CIDEr-D before the next stage starts or training ends; 0: no
    limit, but 3 in self-critical training"""
    finetune_after: int = -1
    """fine-tune the encoder, on the pictures themselves, after so many epochs; -1: never"""
    finetune_layers: int = 2
    """how many of the encoder's last stages are fine-tuned; 9: all"""
    encoder_learning_rate: float = 1e-5
    """learning rate of the encoder; its decay counts from the start of fine-tuning"""
    scst_after: int = -1
    """self-critical training (SCST: maximise the CIDEr-D of sampled captions) after so many
    epochs, from the best weights so far; -1: never"""
    scst_learning_rate: float = 5e-5
    """learning rate of the decoder in self-critical training; constant"""
    scst_samples: int = 5
    """captions sampled for each picture in self-critical training"""
    scst_baseline: Literal["leave_one_out", "greedy"] = "leave_one_out"
    """baseline of a sample's reward: the mean reward of the other samples, or that of the greedy
    caption"""
    scst_bleu: float = 0.0
    """weight of BLEU-4 (0..1) in the reward, beside CIDEr-D (0..10)"""
    scst_cross_entropy: float = 0.0
    """weight of cross entropy in the loss of self-critical training, from 0 to below 1"""
    save_memory: bool = False
    """gradient checkpointing: recompute the encoder's activations; less memory, a third slower"""
    workers: int = max(1, (os.cpu_count() or 2) // 2)
    """processes that decode pictures during fine-tuning"""
    seed: int = 123
    """random seed of initial weights, order of pictures, choice of captions and dropout"""
    device: str = "auto"
    """device: auto, cpu, cuda, cuda:1 or mps"""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """number format of products, beside float32 weights; auto: bfloat16 (else float16) on a GPU,
    float32 elsewhere; config.json says what was used"""
    features_in: Literal["auto", "device", "memory", "disk"] = "auto"
    """where features are kept during training; auto chooses the fastest with enough memory"""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"--{name.replace('_', '-')} {value}: expected {low} to {high}")
        if self.out.resolve() == Path.cwd():
            raise ValueError("--out: this is the current folder; give a folder for the run")
        if self.out.is_symlink():
            raise ValueError(f"--out {self.out}: this is a link; give {self.out.resolve()}")
        if self.scst_samples == 1 and self.scst_baseline == "leave_one_out":
            raise ValueError("--scst-samples 1: the baseline leave_one_out needs two or more")
        if self.start and self.start.resolve() == self.out.resolve():
            raise ValueError(f"--out {self.out}: this is the run of --start; choose another folder")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_dict(cls, values: dict, source: str) -> "TrainConfig":
        """The config that to_json wrote. ValueError names an unknown key and the nearest one."""
        if not isinstance(values, dict):
            raise ValueError(f"{source}: expected an object of options, as --print-config shows it")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1, 0)[0]
                raise ValueError(f"{source}: unknown key {key!r}; did you mean {near!r}?")
        for name, field in fields.items():
            _check_kind(values.get(name, field.default), field, source)
        paths = {key for key in values if fields[key].type in (Path, Path | None) and values[key]}
        return cls(**{key: Path(v) if key in paths else v for key, v in values.items()})

    def require_same(self, earlier: "TrainConfig", run: Path, names: Sequence[str]) -> None:
        """ValueError unless this config has the `names` options of `earlier`, which `run` had."""
        for name in names:
            given, trained = getattr(self, name), getattr(earlier, name)
            if given != trained:
                flag = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{run}: this run was trained with {flag} {trained}; pass the same value "
                    f"(got {given})"
                )


SIZES = (
    "decoder", "hidden", "embedding", "layers", "attention", "heads", "decoder_layers",
    "feed_forward", "norm_eps", "norm", "region_projection", "sentinel_layers", "positions",
)  # fmt: skip
"""options that the shapes of the weights depend on"""
LASTING = (*SIZES, "ema", "seed", "batch_size", "captions_per_image", "accumulate")
"""options that must not change when a run resumes"""


def _check_kind(value: object, field: dataclasses.Field, source: str) -> None:
    """ValueError for a value of another type than the field's: "yes" for a bool, 1.5 for an int."""
    kinds = {
        bool: bool, int: int, float: (int, float), str: str, Path: (str, Path),
        Path | None: (str, Path, NoneType),
    }  # fmt: skip
    kind = kinds.get(field.type, str)
    if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool):
        raise ValueError(f"{source}: {field.name} is {value!r}, expected {kind}")
    choices = get_args(field.type) if get_origin(field.type) is Literal else ()
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1, 0)[0]
        raise ValueError(f"{source}: {field.name} is {value!r}; did you mean {near!r}?")
