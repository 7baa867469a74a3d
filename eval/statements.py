"""Print the share of true statements in captions of the drawn scenes.

    python -m eval.statements --results results.json

In: captions, and the annotations.json of prepro.scenes. Out: one line on stdout. The rules are in
`eval.scene_statements`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from eval import command
from eval.caption_files import read_results
from eval.scene_statements import read_scenes, share_true


@dataclass(frozen=True)
class Options:
    """Check the statements of captions of the embedded scenes.

    Example: python -m eval.statements --results results.json
    """

    results: Path
    """captions in COCO's results format"""
    scenes: Path = Path("data/scenes/annotations.json")
    """the annotations that prepro.scenes wrote"""


def main(options: Options) -> None:
    scenes, captions = read_scenes(options.scenes), read_results(options.results).captions
    strange = [image for image in captions if image not in scenes]
    if strange:
        raise ValueError(f"{options.results}: image {strange[0]} is not in {options.scenes}")
    share = share_true(captions, scenes)
    print(f"true statements  {share:.4f}  of {len(captions):,} captions")


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
