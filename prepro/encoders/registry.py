"""Which encoders there are: a name to the network that it stands for.

In: a name such as "resnet50", and options of its family. Out: the network, and the transform that
it has when it has no published weights.
A name can carry options itself: "resnet10-w32" (width 32), "resnet34-A" (shortcut A),
"resnet50-1x1" (stride on the first 1x1), "resnet18-small" or "resnet18-cifar" (another stem),
"resnet101-s16" (maps of a 16th of the input's size, where later stages dilate instead of striding).
"""

import difflib
import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prepro.transform import Transform

if TYPE_CHECKING:
    from torch import nn

IMAGENET = Transform()
CIFAR_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
CIFAR = Transform(resize=32, crop=32, mean=CIFAR_MEAN, std=CIFAR_STD)
RELEASED_299 = Transform("short", 333, 299, "bicubic", (0.5,) * 3, (0.5,) * 3)
PAPER_299 = Transform("short", 328, 299, "bicubic", rounding="ceil")


@dataclass(frozen=True)
class Entry:
    """A row: the family (a function in the module of that name) and what it is called with."""

    family: str
    options: dict
    transform: Transform = IMAGENET
    published: bool = False
    """Whether there are weights to be had by name."""


def find(name: str) -> Entry:
    """The row of a name, with the options that the name carries; ValueError names the nearest."""
    base, *suffixes = name.split("-")
    entry = TABLE.get(base)
    extra = [_suffix(suffix) for suffix in suffixes]
    if entry is None or None in extra:
        near = difflib.get_close_matches(base, TABLE, n=3, cutoff=0.5) or list(TABLE)[:3]
        raise ValueError(
            f"no encoder is called {name!r}; nearest: {', '.join(near)} "
            "(`python -m prepro.encoders` lists them all)"
        )
    if not extra:
        return entry
    more = dict(extra)
    published = entry.published and more.keys() <= {"stride"}  # which changes no weight
    return Entry(entry.family, entry.options | more, entry.transform, published)


def base(name: str) -> str:
    """The name without the options that it carries."""
    return name.split("-")[0]


def _suffix(suffix: str) -> tuple[str, object] | None:
    if re.fullmatch(r"w[1-9]\d{0,3}", suffix):
        return "width", int(suffix[1:])
    if suffix in ("s4", "s8", "s16"):
        return "stride", int(suffix[1:])
    options = {"A": "shortcut", "B": "shortcut", "C": "shortcut", "1x1": "stride_on"}
    options |= {"imagenet": "stem", "cifar": "stem", "small": "stem"}
    return (options[suffix], suffix) if suffix in options else None


def construct(entry: Entry, **options: object) -> "nn.Module":
    """The network of a row, initialised from torch's global generator."""
    family = getattr(
        importlib.import_module(f"prepro.encoders.families.{entry.family}"), entry.family
    )
    try:
        return family(**entry.options | options)
    except TypeError as error:  # an option that the family does not have
        raise ValueError(f"{entry.family}: {error}") from None


def _table() -> dict[str, Entry]:
    """Every row, in the order in which they are image_paths."""
    rows = {}
    for depth in (10, 18, 34, 50, 101, 152, 200):
        options = {"depth": depth, "block": "bottleneck" if depth >= 50 else "basic"}
        plain = options | {"shortcut": "none"}
        rows[f"resnet{depth}"] = Entry("residual", options, published=depth not in (10, 200))
        rows[f"plain{depth}"] = Entry("residual", plain)
        rows[f"preresnet{depth}"] = Entry("preactivation", options)
    for depth, groups, width in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4)):
        options = {"depth": depth, "block": "bottleneck", "groups": groups, "group_width": width}
        name = f"resnext{depth}_{groups}x{width}d"
        rows[name] = Entry("residual", options, published=name != "resnext101_32x4d")
    for depth in (50, 101):
        options = {"depth": depth, "block": "bottleneck", "group_width": 128}
        rows[f"wide_resnet{depth}_2"] = Entry("residual", options, published=True)
    name, paper = "inception_resnet_v2", {"variant": "paper"}
    rows[name] = Entry(name, {"variant": "released"}, RELEASED_299, published=True)
    rows[f"{name}_paper"] = Entry(name, paper, PAPER_299)
    return rows | _cifar_table()


def _cifar_table() -> dict[str, Entry]:
    rows = {}
    small = {"stem": "cifar", "classes": 10}
    for depth in (8, 14, 20, 32, 44, 56, 110, 164):
        options = small | {"depth": depth, "width": 16}
        rows[f"resnet{depth}"] = Entry("residual", options | {"shortcut": "A"}, CIFAR)
        rows[f"plain{depth}"] = Entry("residual", options | {"shortcut": "none"}, CIFAR)
        rows[f"preresnet{depth}"] = Entry("preactivation", options | {"shortcut": "A"}, CIFAR)
    rows["resnet1202"] = Entry("residual", options | {"depth": 1202, "shortcut": "A"}, CIFAR)
    for groups in (8, 16):
        options = small | {"depth": 29, "block": "bottleneck", "groups": groups}
        rows[f"resnext29_{groups}x64d"] = Entry("residual", options, CIFAR)
    return rows


TABLE = _table()
