"""What captions are worth; and, since each package begins with it, a word where no command runs."""

import sys
from importlib.util import find_spec

if sys.argv[0] == "-m" and find_spec("tyro") is None:  # a shell without the environment
    print("the packages are not here: source .venv/bin/activate (make setup)", file=sys.stderr)
    raise SystemExit(2)
