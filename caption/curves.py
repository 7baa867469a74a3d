"""Draw the training curves of one or several runs in one figure.

python -m caption.curves runs/a runs/b --out compare.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eval import command


@dataclass(frozen=True)
class Options:
    """Draw the curves of one or several runs in one figure.

    Example: python -m caption.curves runs/a runs/b --out compare.png
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs/latest"),)
    """folders of runs"""
    out: Path = Path("curves.png")
    """the figure: .png, .pdf or .svg"""


def main(options: Options) -> None:
    from caption.training.curves import draw

    draw(options.runs, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
