"""The mutants of a file: every small change that a test should notice.

In: a path of the working tree. Out: for each change its place and its text: an exchanged operator,
a changed number, a lost `not` or a lost call.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SWAPS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip


class Mutant(NamedTuple):
    path: Path
    """relative to the root"""
    line: int
    statement: range
    """the lines of the statement; of a compound one, its head"""
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

    tree = ast.parse(source)
    statements = lines_of_statements(tree)
    found = []
    for node in ast.walk(tree):
        for start, end, text in changes(node, span, data):
            found.append(Mutant(path, node.lineno, statements[node.lineno], start, end, text))
    return found


def lines_of_statements(tree: ast.Module) -> dict[int, range]:
    """For each line the lines of the innermost statement, or head of one, that it belongs to."""
    found = {line: range(line, line + 1) for line in range(1, 1 + tree.body[-1].end_lineno)}
    for node in ast.walk(tree):  # an inner statement comes after the one around it
        if isinstance(node, ast.stmt):
            first = min([node, *getattr(node, "decorator_list", ())], key=lambda part: part.lineno)
            body = getattr(node, "body", None)
            end = max(node.lineno + 1, body[0].lineno) if body else node.end_lineno + 1
            lines = range(first.lineno, end)
            found |= dict.fromkeys(lines, lines)
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
