"""What a run's options are where its command line leaves them out: presets and earlier runs.

In: flags, a preset's name, a JSON file, or an earlier run. Out: a TrainConfig.
A preset is a Python function that returns the defaults to start from; flags then change them.
"""

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from caption.config import TrainConfig
from eval import command
from eval.files import read_json

RARE = (
    "decay_rate", "decay_every", "warmup", "weight_decay", "clip", "clip_mode", "accumulate",
    "save_memory", "workers", "features_in", "scst_samples", "scst_baseline", "scst_bleu",
    "scst_cross_entropy",
)  # fmt: skip
"""flags that --help leaves out"""


def show_tell() -> TrainConfig:
    """neuraltalk2's decoder on the pooled vector (Vinyals et al. 2015)."""
    return TrainConfig()


def att2in() -> TrainConfig:
    """The attention decoder of self-critical training (Rennie et al. 2017)."""
    return TrainConfig(decoder="att2in", learning_rate=5e-4)


def topdown() -> TrainConfig:
    """Top-Down attention with its own sizes (Anderson et al. 2018)."""
    return TrainConfig(decoder="topdown", hidden=1000, embedding=1000, learning_rate=5e-4)


def transformer() -> TrainConfig:
    """Six layers of encoder and decoder, as self-critical.pytorch trains them."""
    return TrainConfig(
        decoder="transformer", layers=6, dropout=0.1, learning_rate=5e-4, warmup=20_000,
        decay_every=0, label_smoothing=0.1,
    )  # fmt: skip


def scenes() -> TrainConfig:
    """Small and quick, for the embedded data set: minutes on a laptop."""
    return TrainConfig(
        decoder="topdown", hidden=256, embedding=128, dropout=0.1, epochs=4, captions_per_image=3,
        learning_rate=1.5e-3, decay_every=1, decay_rate=0.5, clip=1.0, clip_mode="norm",
    )  # fmt: skip


def scst(run: TrainConfig | None = None) -> TrainConfig:
    """Self-critical training from the first step, of what `run` was (Rennie et al. 2017)."""
    return replace(run or TrainConfig(), scst_after=0, epochs=20)


PRESETS: dict[str, Callable[..., TrainConfig]] = {
    preset.__name__: preset for preset in (show_tell, att2in, topdown, transformer, scenes, scst)
}


def from_command_line(argv: Sequence[str]) -> TrainConfig:
    """Flags over a preset: `--preset NAME`, else `scenes` for the embedded data set.

    With --resume, flags over the run's own config.json; with --start, over that run's.
    ValueError, in one line, for an unknown flag, preset or value.
    """
    argv = list(argv)
    preset, file = _take(argv, "--preset"), _take(argv, "--config")
    if preset is not None and preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, 1, 0)[0]
        raise ValueError(f"--preset {preset}: did you mean {near}? all: {', '.join(PRESETS)}")
    default = _read(Path(file)) if file else PRESETS[preset]() if preset else TrainConfig()
    if {"-h", "--help"} & set(argv):
        command.parse(_brief(), argv)
    config = command.parse(TrainConfig, argv, default)
    whole = default.start and not preset  # a file that names a start says the rest, too
    start = None if whole else config.start
    if start:
        beside = replace(config, out=_beside(start, preset))
        config = command.parse(TrainConfig, argv, beside)
    if config.resume and (config.out / "config.json").is_file():
        default = _read(config.out / "config.json")
        if start and (default.start is None or default.start.resolve() != start.resolve()):
            began = default.start or "nothing"
            raise ValueError(f"{config.out}: began with {began}, not with {start}")
    elif start:
        default = _after(start, preset)
    elif preset == "scst":
        raise ValueError("--preset scst begins from a finished run: add --start runs/NAME")
    elif not preset and not file and config.data == TrainConfig.data:
        default = scenes()
    return command.parse(TrainConfig, argv, default)


def _read(path: Path) -> TrainConfig:
    return TrainConfig.from_dict(read_json(path), str(path))


def _after(start: Path, preset: str | None) -> TrainConfig:
    """The defaults of a run that begins with another: its own, in a folder beside it.

    What it has trained is trained on, its encoder too; no stage lies ahead but the preset's.
    """
    if preset not in (None, "scst"):
        raise ValueError(f"--preset {preset}: --start has its own config; only scst goes with it")
    run = _read(start / "config.json")
    encoder = 0 <= run.finetune_after < run.epochs
    kept = replace(
        run, out=_beside(start, preset), start=start, resume=False,
        finetune_after=0 if encoder else -1, scst_after=-1,
    )  # fmt: skip
    return scst(kept) if preset else kept


def _beside(start: Path, preset: str | None) -> Path:
    """Where a run goes that begins with the one at `start`, unless --out names another place."""
    return start.with_name(f"{start.resolve().name}-{preset or 'next'}")


def _brief() -> type[TrainConfig]:
    """The same without the rare flags, for --help."""
    hidden = [
        (field.name, Annotated[field.type, tyro.conf.Suppress], field.default)
        for field in dataclasses.fields(TrainConfig)
        if field.name in RARE
    ]
    brief = dataclasses.make_dataclass("TrainConfig", hidden, bases=(TrainConfig,), frozen=True)
    brief.__doc__ = TrainConfig.__doc__
    return brief


def _take(argv: list[str], flag: str) -> str | None:
    """Remove `flag VALUE` or `flag=VALUE` from `argv`; the value."""
    for index, word in enumerate(argv):
        if word.startswith(flag + "="):
            return argv.pop(index).partition("=")[2]
        if word == flag:
            if index + 1 == len(argv):
                raise ValueError(f"{flag} needs a value")
            argv.pop(index)
            return argv.pop(index)
    return None
