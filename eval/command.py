"""How every command of the project begins and ends.

In: a frozen dataclass of options, whose docstrings are the help text, and a main function.
Out: an exit status. 0 done; 1 something failed; 2 wrong usage or input; 130 stopped by Ctrl-C.
Results go to stdout, all talk to stderr; a mistake of the user's costs one line, not a traceback
(set CAPTION_DEBUG=1 to see one).
"""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, TypeVar, get_args, get_type_hints

import tyro

from eval.files import ADDRESS, printable

Options = TypeVar("Options")
FLAG = re.compile(r"(?<!\S)--[a-z][\w-]*")


def run(
    options: type[Options],
    main: Callable[[Options], int | None],
    argv: Sequence[str] | None = None,
    addresses: Sequence[str] = (),
) -> int:
    """Parse `argv` into `options`, call `main` with it and return the exit status.

    `addresses` are the names of the options that may be an address, such as s3://bucket/folder.

    The module that a command lives in imports torch inside `main`, so that --help and a typing
    mistake answer at once.
    """
    return finish(lambda: main(parse(options, argv, addresses=addresses)))


def finish(work: Callable[[], int | None]) -> int:
    """Do the work; the exit status, with one line on stderr for whatever went wrong."""
    try:
        return work() or 0
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:  # the reader of our stdout, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        return _fail(error, 2)
    except MemoryError:
        return _fail("not enough memory", 1)
    except (OSError, RuntimeError) as error:  # a full disk, say, or no permission
        return _fail(error, 1)
    except Exception as error:  # a defect of ours; the user's work is not helped by a traceback
        kind = f"{type(error).__name__}: {error}"
        return _fail(f"failed ({kind}); CAPTION_DEBUG=1 shows where", 1, error)


def parse(
    options: type[Options],
    argv: Sequence[str] | None = None,
    default: Options | None = None,
    addresses: Sequence[str] = (),
) -> Options:
    """The options that a command line spells; a ValueError of one line when it spells none.

    `default` holds the values of what the command line leaves out, `addresses` the names of what
    may be an address.
    """
    defaults = {} if default is None else {"default": default}
    wants_help = bool({"-h", "--help"} & set(sys.argv[1:] if argv is None else argv))
    if not defaults and wants_help:
        options = _readable(options)
    talk = io.StringIO()
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"  # tyro's only switch for plain text
    try:
        with (
            contextlib.redirect_stderr(talk),
            contextlib.nullcontext() if wants_help else _wide_terminal(),
        ):
            found = tyro.cli(options, args=argv, prog=_program(), **defaults)
    except SystemExit as end:
        if end.code == 0:
            raise
        box = re.sub(r"\x1b\[[\d;]*m", "", talk.getvalue())  # tyro colours it on a terminal
        raise ValueError(_one_line(box, options) + f"; see {_program()} --help") from None
    _refuse_addresses(found, addresses)
    return found


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """One in which tyro breaks no path in two."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _refuse_addresses(options: object, allowed: Sequence[str]) -> None:
    """ValueError for a path that is an address, which Path would make a local folder `s3:`."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and ADDRESS.match(str(path)) and field.name not in allowed:
                flag, address = field.name.replace("_", "-"), str(path).replace(":/", "://", 1)
                raise ValueError(
                    f"--{flag}: {address} is not on this machine; only --annotations and --images "
                    "of prepro.labels take addresses"
                )


def _readable(options: type[Options]) -> type[Options]:
    """The options as --help shows them: PATH, not {None}|PATH, and no default that says nothing."""
    shown, hints = [], get_type_hints(options, include_extras=True)
    for field in dataclasses.fields(options):
        kinds = [kind for kind in get_args(hints[field.name]) if kind is not NoneType]
        if field.default in (None, (), ""):
            name = getattr(kinds[0], "__name__", "").upper() if field.default is None else None
            style = tyro.conf.arg(help_behavior_hint="", metavar=name)
            shown.append((field.name, Annotated[hints[field.name], style], field.default))
    brief = dataclasses.make_dataclass(options.__name__, shown, bases=(options,), frozen=True)
    brief.__doc__ = options.__doc__
    return brief


def _one_line(box: str, options: type) -> str:
    """The sentence inside tyro's box, and the flag that was probably meant."""
    lines = box.splitlines()
    rows = [row.strip("│ ") for row in lines if row.startswith("│")]
    rows = rows or [row.strip() for row in lines[2:]]  # where stdout is not UTF-8: a title, a rule
    parts = re.split(r"\n*^[─-]{3,}$\n*", "\n".join(rows), flags=re.MULTILINE)
    sentence = re.sub(r"^Error parsing \w+: ", "", " ".join(parts[0].split()).rstrip("."))
    unknown = next((FLAG.findall(part) for part in parts if part.startswith("Unrecognized")), [])
    if sentence.startswith("Missing from"):
        missing = dict.fromkeys(FLAG.findall(sentence))
        sentence = "missing " + (", ".join(missing) or sentence.partition(": ")[2])
        sentence += f"; unknown {unknown[0]}" if unknown else ""
    flags = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(options)]
    flags += [flag for flag in FLAG.findall("\n".join(rows)) if flag not in unknown]
    near = difflib.get_close_matches(unknown[0], flags, 1) if unknown else []
    return sentence + (f"; did you mean {near[0]}?" if near else "")


def _program() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (
        f"python -m {spec.name.removesuffix('.__main__')}"
        if spec
        else os.path.basename(sys.argv[0])
    )


def _fail(error: object, status: int, cause: BaseException | None = None) -> int:
    cause = error if isinstance(error, BaseException) else cause
    if os.environ.get("CAPTION_DEBUG") and cause is not None:
        raise cause
    if isinstance(error, OSError) and error.filename:
        error = f"{error.filename}: {error.strerror}"
    text = printable(" ".join(str(error).split()) or type(error).__name__)
    print(f"{_program().removeprefix('python -m ')}: {text}", file=sys.stderr)
    return status
