"""Presets, and the defaults of a training run that its command line does not give.

In: a command line. Out: a TrainConfig. The defaults come from a preset (--preset), a JSON file
(--config), the run that is resumed (--resume) or the run that this one starts from (--start); flags
override them. A preset is a function that returns a TrainConfig.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from caption.config import TrainConfig
from caption.pretrained import model_file
from eval import command
from eval.files import read_json

RARE = (
    "decay_rate", "decay_every", "warmup", "weight_decay", "clip", "clip_mode", "accumulate",
    "save_memory", "workers", "features_in", "scst_samples", "scst_baseline", "scst_bleu",
    "scst_cross_entropy", "position_std", "attention", "heads", "decoder_layers", "feed_forward",
    "norm_eps", "norm", "region_projection", "sentinel_layers", "positions",
)  # fmt: skip
"""flags that --help does not list"""


def show_tell() -> TrainConfig:
    """The decoder of neuraltalk2 on the pooled feature vector (Vinyals et al. 2015)."""
    return TrainConfig()


def att2in() -> TrainConfig:
    """The attention decoder of self-critical training (Rennie et al. 2017)."""
    return TrainConfig(decoder="att2in", learning_rate=5e-4)


def topdown() -> TrainConfig:
    """Top-Down attention with the sizes of the paper (Anderson et al. 2018)."""
    return TrainConfig(decoder="topdown", hidden=1000, embedding=1000, learning_rate=5e-4)


def transformer() -> TrainConfig:
    """Six layers of encoder and decoder, as self-critical.pytorch trains them."""
    return TrainConfig(
        decoder="transformer", layers=6, dropout=0.1, learning_rate=5e-4, warmup=20_000,
        decay_every=0, label_smoothing=0.1,
    )  # fmt: skip


def scenes() -> TrainConfig:
    """A small decoder for the drawn scenes of prepro.scenes: minutes on a laptop."""
    return TrainConfig(
        decoder="topdown", hidden=256, embedding=128, dropout=0.1, epochs=4, captions_per_image=3,
        learning_rate=1.5e-3, decay_every=1, decay_rate=0.5, clip=1.0, clip_mode="norm",
        position_std=0.5,
    )  # fmt: skip


def photographs() -> TrainConfig:
    """Top-Down for some thousand photographs and ImageNet features, tuned on Flickr8k."""
    return TrainConfig(
        decoder="topdown", hidden=304, embedding=256, dropout=0.4, epochs=6, learning_rate=1.2e-3,
        decay_every=2, decay_rate=0.6, clip=1.0, clip_mode="norm", ema=0.998,
    )  # fmt: skip


def scst(run: TrainConfig | None = None) -> TrainConfig:
    """Self-critical training of a finished run, from the first step (Rennie et al. 2017)."""
    return replace(run or TrainConfig(), scst_after=0, epochs=20)


PRESETS: dict[str, Callable[..., TrainConfig]] = {
    preset.__name__: preset
    for preset in (show_tell, att2in, topdown, transformer, photographs, scenes, scst)
}


@dataclass(frozen=True)
class CommandLine(TrainConfig):
    preset: str = ""
    """start from other defaults: show_tell, att2in, topdown, transformer, photographs, scenes (the
    default for data/scenes) or scst (self-critical training; needs --start)"""
    config: Path | None = None
    """start from the defaults in a JSON file, such as the config.json of a run"""
    print_config: bool = False
    """print the options, with the rare ones that this list leaves out, and exit"""


CommandLine.__doc__ = TrainConfig.__doc__


def from_command_line(argv: Sequence[str]) -> TrainConfig:
    """Parse a command line. ValueError, in one line, for an unknown flag, preset or value."""
    if {"-h", "--help"} & set(argv):
        command.parse(_brief(), argv)
    default = CommandLine(**vars(_defaults(_given(argv))))
    values = vars(command.parse(CommandLine, argv, default))
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    return TrainConfig(**{name: values[name] for name in names})


def _given(argv: Sequence[str]) -> argparse.Namespace:
    """The flags that decide which defaults apply; None for those that were not given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--preset", "--config", "--start", "--out", "--data"):
        parser.add_argument(flag, type=str if flag == "--preset" else Path)
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction)
    try:
        given, _ = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise ValueError(f"{error.argument_name} needs a value") from None
    if given.preset is not None and given.preset not in PRESETS:
        near = difflib.get_close_matches(given.preset, PRESETS, 1, 0)[0]
        raise ValueError(f"--preset {given.preset}: did you mean {near}? all: {', '.join(PRESETS)}")
    if given.config and (given.preset or given.start):
        other = "--preset" if given.preset else "--start"
        raise ValueError(f"--config and {other} both give defaults; choose one of them")
    return given


def _defaults(given: argparse.Namespace) -> TrainConfig:
    preset, start = given.preset, given.start
    default = _read(given.config) if given.config else PRESETS[preset or "show_tell"]()
    out = given.out or (_folder_beside(start, preset) if start else default.out)
    resume = default.resume if given.resume is None else given.resume
    if resume and (out / "config.json").is_file():
        default = _read(out / "config.json")
        if start and (default.start is None or default.start.resolve() != start.resolve()):
            origin = (
                f"started from {default.start}" if default.start else "not created with --start"
            )
            raise ValueError(f"{out}: this run was {origin}; leave out --start {start}")
        return default
    if start:
        return _continued(start, preset)
    if preset == "scst":
        raise ValueError("--preset scst continues a finished run; add --start runs/NAME")
    is_bare = not preset and not given.config
    return scenes() if is_bare and (given.data or default.data) == TrainConfig.data else default


def _read(path: Path) -> TrainConfig:
    return TrainConfig.from_dict(read_json(path), str(path))


def _continued(start: Path, preset: str | None) -> TrainConfig:
    """The defaults of a run that starts from another: its config, in a folder beside it.

    An encoder that was fine-tuned is fine-tuned from the first epoch; there is no other stage but
    that of the preset.
    """
    if preset not in (None, "scst"):
        raise ValueError(
            f"--preset {preset}: --start brings its own config; only scst can be combined with it"
        )
    run = _config_of(start)
    finetuned = 0 <= run.finetune_after < run.epochs
    config = replace(
        run, out=_folder_beside(start, preset), start=start, resume=False,
        finetune_after=0 if finetuned else -1, scst_after=-1,
    )  # fmt: skip
    return scst(config) if preset else config


def _config_of(start: Path) -> TrainConfig:
    """The config of the run at `start`, or of a model file or its name, without its data."""
    if (start / "config.json").is_file():
        return _read(start / "config.json")
    from caption.pretrained.model_format import read_header  # here, since it imports torch

    path = model_file(start)
    config = TrainConfig.from_dict(read_header(path)["run"]["config"], str(path))
    return replace(config, data=TrainConfig.data)


def _folder_beside(start: Path, preset: str | None) -> Path:
    """The default of --out for a run that starts from the one at `start`."""
    if not start.is_dir():
        return TrainConfig.out.with_name(f"{start.stem}-{preset or 'next'}")
    return start.with_name(f"{start.resolve().name}-{preset or 'next'}")


def _brief() -> type[CommandLine]:
    """CommandLine without the rare flags, for --help."""
    hidden = [
        (field.name, Annotated[field.type, tyro.conf.Suppress], field.default)
        for field in dataclasses.fields(CommandLine)
        if field.name in RARE
    ]
    brief = dataclasses.make_dataclass("TrainConfig", hidden, bases=(CommandLine,), frozen=True)
    brief.__doc__ = TrainConfig.__doc__
    return brief
