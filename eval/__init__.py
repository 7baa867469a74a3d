"""Scores of captions; each package begins with it, for a message where no command can run."""

import sys
from importlib.util import find_spec

if sys.argv[0] == "-m" and find_spec("tyro") is None:  # a shell without the environment
    print(
        "dependencies are missing: activate .venv, or run make setup",
        file=sys.stderr,
    )
    raise SystemExit(2)
