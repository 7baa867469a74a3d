"""The decoding flags of caption.sample and caption.generate: the fields of DecodeOptions.

A flag that is not given keeps the default of the run. Free of torch.
"""

import ast
import difflib
import inspect
from itertools import pairwise
from typing import Annotated, TypedDict, get_type_hints

import tyro

from caption.decoding.options import DecodeOptions


def _help(options: type) -> dict[str, str]:
    """The docstring of each field of a dataclass."""
    (definition,) = ast.parse(inspect.getsource(options)).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


HELP = _help(DecodeOptions)
DecodeFlags = TypedDict(
    "DecodeFlags",
    {
        name: Annotated[
            kind, tyro.conf.arg(help=HELP[name], help_behavior_hint="(default: the run's)")
        ]
        for name, kind in get_type_hints(DecodeOptions).items()
    },
    total=False,
)


def apply_flags(flags: DecodeFlags, defaults: DecodeOptions) -> DecodeOptions:
    """`defaults` overridden by the flags; --n without --beam raises the beam to n.

    ValueError for an option that does not exist.
    """
    for name in flags.keys() - vars(defaults).keys():
        near = difflib.get_close_matches(name, vars(defaults), 1, 0)[0]
        raise ValueError(f"decoding has no option {name!r}; did you mean {near!r}?")
    given = {"beam": max(defaults.beam, flags.get("n", defaults.n)), **flags}
    return DecodeOptions(**{**vars(defaults), **given})
