"""Change one line at a time and look whether a test notices.

    python -m tests.mutants --count 150 --seed 1      (make mutants; never in CI, it takes hours)

In: the packages of a copy of the working tree. Out: for each package, how many mutants were tried,
killed and undecided, since their tests ran too long, and the share of the decided ones that were
killed; a line on stderr for each that was not. A mutant is one exchanged operator, one changed
number, a lost `not`, or a lost call. First the tests of the same name run, then those of the same
folder, then those of the package. Some survivors are equivalent to the original: judge them by eye.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eval import command

ROOT = Path(__file__).resolve().parents[1]
SWAPS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Change one line at a time and look whether a test notices.

    Example: python -m tests.mutants --count 150 --seed 1
    """

    count: int = 150
    """mutants"""
    seed: int = 1
    """random seed of the choice"""
    packages: tuple[str, ...] = ("eval", "prepro", "caption")
    """packages or folders of them"""
    seconds: int = 600
    """limit for the tests of one mutant"""


class Mutant(NamedTuple):
    path: Path
    """relative to the root"""
    line: int
    start: int
    """position in the text of the file, as `end`"""
    end: int
    text: str


def mutants(path: Path) -> list[Mutant]:
    """All mutants of one file."""
    source = (ROOT / path).read_text(encoding="utf-8")
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()

    def span(node: ast.AST) -> tuple[int, int]:
        first = starts[node.lineno - 1] + node.col_offset
        return first, starts[node.end_lineno - 1] + node.end_col_offset

    found = []
    for node in ast.walk(ast.parse(source)):
        for start, end, text in changes(node, span, data):
            found.append(Mutant(path, node.lineno, start, end, text))
    return found


def changes(node: ast.AST, span, data: bytes) -> Iterator[tuple[int, int, str]]:
    """Yields (start, end, new text) in bytes for each change of a node."""
    pairs = []  # an operator, and what stands at its left and its right
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs = list(zip(node.ops, sides, sides[1:], strict=False))
    elif isinstance(node, ast.BinOp):
        pairs = [(node.op, node.left, node.right)]
    elif isinstance(node, ast.BoolOp):
        pairs = [(node.op, *node.values[:2])]
    for operator, left, right in pairs:
        old, new = SWAPS.get(type(operator), ("", ""))
        start = data.find(old.encode(), span(left)[1], span(right)[0]) if old else -1
        if start >= 0:
            yield start, start + len(old), new
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield *span(node), str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield *span(node), f"({node.value!r} + 1)"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield span(node)[0], span(node)[0] + len("not"), ""
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield *span(node), "pass"


def tests_of(path: Path) -> list[list[str]]:
    """The tests of one file in the order in which they run: paths for pytest."""
    package, folder = path.parts[0], ROOT / "tests" / path.parent
    near = [folder / f"test_{path.stem}.py", folder, ROOT / "tests" / package]
    near += [ROOT / "tests" / name for name in ("cli", "faults")]
    found = [str(item.relative_to(ROOT)) for item in dict.fromkeys(near) if item.exists()]
    return [[item] for item in found]


def fate(mutant: Mutant, tree: Path, seconds: int) -> str:
    """ "killed" if a test fails, "survives" or "takes too long"; restores the file."""
    path = tree / mutant.path
    data = path.read_bytes()
    path.write_bytes(data[: mutant.start] + mutant.text.encode() + data[mutant.end :])
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    try:
        for tests in tests_of(mutant.path):
            run = subprocess.run(
                [*line, *tests], cwd=tree, env=environment, timeout=seconds, capture_output=True
            )
            if run.returncode not in (0, 5):  # 5: no test was found
                return "killed"
    except subprocess.TimeoutExpired:
        return "takes too long"
    finally:
        path.write_bytes(data)
    return "survives"


def main(options: Options) -> int:
    files = sorted(
        path.relative_to(ROOT) for name in options.packages for path in (ROOT / name).rglob("*.py")
    )
    every = [mutant for path in files for mutant in mutants(path)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        skip = shutil.ignore_patterns(".git", ".venv", "runs", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT, tree, ignore=skip)
        for mutant in chosen:
            found = fate(mutant, tree, options.seconds)
            fates[mutant.path.parts[0]][found] += 1
            if found != "killed":
                old = (ROOT / mutant.path).read_bytes()[mutant.start : mutant.end].decode()
                print(
                    f"{mutant.path}:{mutant.line}: {old!r} -> {mutant.text!r} {found}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    for package, counts in sorted(fates.items()):
        tried, killed, undecided = counts.total(), counts["killed"], counts["takes too long"]
        share = 100 * killed / max(1, tried - undecided)
        print(
            f"{package:8} {tried:4} tried  {killed:4} killed  {undecided:4} undecided  "
            f"{share:5.1f} %"
        )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
