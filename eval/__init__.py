"""What captions are worth; and, because every package begins with it, a word where nothing runs."""

import sys
from importlib.util import find_spec

if find_spec("tyro") is None:  # a shell without the environment
    print("the packages are not here: source .venv/bin/activate (make setup)", file=sys.stderr)
    raise SystemExit(2)
