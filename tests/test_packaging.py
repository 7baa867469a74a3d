"""What `pip install` copies: every package, and every file beside the code that a command reads."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
FOLDERS = {
    ".".join(path.parent.relative_to(ROOT).parts): path.parent
    for name in ("caption", "prepro", "eval")
    for path in (ROOT / name).rglob("__init__.py")
}


def test_every_package_is_installed():
    assert set(SETUP["options"]["packages"].split()) == FOLDERS.keys()


def test_every_data_file_is_installed():
    patterns = SETUP["options.package_data"]
    missing = [
        str(path.relative_to(ROOT))
        for package, folder in FOLDERS.items()
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".py", ".pyc")
        if not any(fnmatch(path.name, p.strip()) for p in patterns.get(package, "").split(","))
    ]
    assert not missing
