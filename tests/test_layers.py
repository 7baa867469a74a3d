"""The import rules: which package and which room may import which."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"eval": {"eval"}, "prepro": {"prepro", "eval"}, "caption": {"caption", "prepro", "eval"}}
# what prepro needs of eval: one tokenizer for vocabulary and scores, whole files, commands
PREPRO_MAY_IMPORT = {
    "eval.tokenizer",
    "eval.files",
    "eval.command",
    "eval.command_list",
    "eval.schema",
    "eval",
}
# A module imports modules of its own level and of the levels above it in this list, never below.
LEVELS = {
    "caption": (
        "config", "pretrained", "models", "decoding.options", "data", "decoding",
        "pretrained.model_format", "captioner", "conversion", "inference", "onnx", "presets",
        "training", "reporting", "serving",
    ),
    "prepro": (
        "runtime", "remote", "tar_images", "images", "picture_changes", "transform", "vocabulary",
        "annotations", "storage", "encoders", "extraction", "pretraining", "downloads",
    ),
}  # fmt: skip
FILES = sorted(path for name in ALLOWED for path in (ROOT / name).rglob("*.py"))
GUARD = '\nif __name__ == "__main__":'


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}
COMMANDS = {name for name, path in MODULES.items() if GUARD in path.read_text()}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES.keys()
            found |= modules or {node.module or ""}
            found |= names
    return found


def level(module: str) -> int | None:
    """The index of the longest matching entry of LEVELS; None for commands and package roots."""
    package, _, rest = module.partition(".")
    entries = [
        (len(entry), index)
        for index, entry in enumerate(LEVELS.get(package, ()))
        if rest == entry or rest.startswith(entry + ".")
    ]
    return max(entries)[1] if entries else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_downwards(path):
    package = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in ALLOWED}
    assert {name.split(".")[0] for name in ours} <= ALLOWED[package]
    if package == "prepro":
        modules = {name for name in ours if name.startswith("eval")}
        modules = {".".join(name.split(".")[:2]) for name in modules}
        assert modules <= PREPRO_MAY_IMPORT


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_downwards(path):
    own = level(module_name(path))
    if own is None:
        pytest.skip("a command or a package root may import every room")
    package = path.relative_to(ROOT).parts[0]
    others = {name for name in imported(path) & MODULES.keys() if name.startswith(package + ".")}
    upwards = {name for name in others if (level(name) or 0) > own}
    assert not upwards, f"{module_name(path)} imports upwards: {', '.join(sorted(upwards))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_library_imports_a_command(path):
    if module_name(path) in COMMANDS:
        pytest.skip("a command may import another command")
    assert not imported(path) & COMMANDS


def test_every_module_is_on_a_level_or_is_a_command():
    loose = {
        name
        for name in MODULES
        if name.split(".")[0] in LEVELS and level(name) is None and name not in COMMANDS
    }
    roots = {*LEVELS, *(f"{package}.__main__" for package in LEVELS)}
    assert loose - roots == set()


def test_only_one_file_imports_torchvision_models():
    users = {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(name.startswith("torchvision.models") for name in imported(path))
    }
    assert len(users) == 1 and users.pop().endswith("pretrained.py")


def test_nothing_unpickles():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert not called.startswith("pickle."), path  # one file subclasses Unpickler
                assert given.get("allow_pickle", "False") == "False", path
                assert called != "torch.load" or given.get("weights_only") == "True", path


def test_there_are_no_import_cycles():
    """Inside functions too. `from a import b` means the module a.b where there is one, else a."""
    graph = {name: (imported(path) & MODULES.keys()) - {name} for name, path in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())  # CycleError names the cycle
