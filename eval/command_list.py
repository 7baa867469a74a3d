"""List the commands of a package: every module that `python -m` can run, with its first sentence.

    python -m caption       python -m prepro       python -m eval

Modules are parsed, never imported, so the list appears at once.
"""

import ast
from pathlib import Path

GUARD = '\nif __name__ == "__main__":'
FORMER_NAMES = {"caption.journal": "caption.curves"}
"""names of commands that still work, each with its present name"""


def commands(package: Path) -> dict[str, str]:
    """{"caption.train": "Train a decoder ..."} of the modules below the folder `package`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        if GUARD in text and name not in FORMER_NAMES:
            found[name.removesuffix(".__main__")] = _first_sentence(text)
    return found


def print_commands(package: Path) -> None:
    """Print a line for each command of the package to stdout."""
    found = commands(package)
    width = max(map(len, found))
    for name, sentence in found.items():
        print(f"python -m {name:{width}}  {sentence}")
    print("\nEach command explains its options with --help.")


def _first_sentence(source: str) -> str:
    docstring = ast.get_docstring(ast.parse(source)) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".:")
