"""The former name of `python -m caption.curves`."""

import sys

from caption.curves import Options, main
from eval import command

if __name__ == "__main__":
    sys.exit(command.run(Options, main))
