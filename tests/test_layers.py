"""Data flows one way: eval imports nothing of ours, prepro only eval, caption both."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"eval": {"eval"}, "prepro": {"prepro", "eval"}, "caption": {"caption", "prepro", "eval"}}
# what prepro needs of eval: one tokenizer for vocabulary and scores, whole files, commands
OF_EVAL = {"eval.tokenizer", "eval.files", "eval.command", "eval"}
FILES = sorted(path for name in ALLOWED for path in (ROOT / name).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in ALLOWED}
    assert {name.split(".")[0] for name in ours} <= ALLOWED[package]
    if package == "prepro":
        modules = {".".join(name.split(".")[:2]) for name in ours if name.startswith("eval")}
        assert modules <= OF_EVAL


def test_only_one_file_imports_torchvisions_models():
    users = {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(name.startswith("torchvision.models") for name in imported(path))
    }
    assert users == {"prepro/encoders/pretrained.py"}


def test_nothing_unpickles():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert not called.startswith("pickle."), path
                assert given.get("allow_pickle", "False") == "False", path
                assert called != "torch.load" or given.get("weights_only") == "True", path


def test_no_import_goes_in_a_circle():
    ours = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    ours = {name.removesuffix(".__init__"): path for name, path in ours.items()}
    waits_for = {name: (imported(path) & ours.keys()) - {name} for name, path in ours.items()}
    packages = {name for name, path in ours.items() if path.name == "__init__.py"}
    for name, others in waits_for.items():  # `from a import b` means a.b where there is one
        waits_for[name] = {other for other in others if other not in packages} or others
    assert list(TopologicalSorter(waits_for).static_order())  # CycleError names the circle
