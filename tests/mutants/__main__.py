"""Change one line at a time and look whether a test notices.

    python -m tests.mutants --count 150 --seed 1      (make mutants; never in CI, it takes hours)

In: the packages of a copy of the working tree. Out: for each package, how many mutants were tried,
killed and undecided, since their tests ran too long, and the share of the decided ones that were
killed; a line on stderr for each that was not. All tests run once, to learn which execute which
line; then those of the changed line run for each mutant, first the ones of the module's own file,
then of its folder, then the quick ones. Some survivors are equivalent to the original: judge them
by eye.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from eval import command
from tests.conftest import shared_folder
from tests.mutants.changes import ROOT, Mutant, mutants
from tests.mutants.runner import Runner
from tests.mutants.tests_of_lines import TestsOfLines, environment, tests_of_lines

SKIPPED = (".git", ".venv", "data", "runs")  # at the root
FEW = 30  # tests that run first, so that pytest need not collect the others; mostly one fails


@dataclass(frozen=True)
class Options:
    """Change one line at a time and look whether a test notices.

    Example: python -m tests.mutants --count 150 --seed 1
    """

    count: int = 150
    """mutants"""
    seed: int = 1
    """random seed of the choice"""
    packages: tuple[str, ...] = ("eval", "prepro", "caption")
    """packages or folders of them"""
    seconds: int = 600
    """limit for the tests of one mutant"""


def tests_of(mutant: Mutant, found: TestsOfLines) -> list[str]:
    """Ids of the tests that execute the mutant's statement; of those that execute anything of its
    file, if the statement is executed when the module is imported."""
    lines = found.lines.get(mutant.path, {})
    ran = {test for line in mutant.statement for test in lines.get(line, ())}
    if not ran or "" in ran:
        ran = {test for tests in lines.values() for test in tests}
    own, folder = f"test_{mutant.path.stem}.py::", f"tests/{mutant.path.parent}/"

    def order(test: str) -> tuple[bool, bool, float]:
        return own not in test, not test.startswith(folder), found.seconds[test]

    return sorted(ran - {""}, key=order)


def fate(mutant: Mutant, tests: list[str], tree: Path, runner: Runner, seconds: int) -> str:
    """ "killed" if a test fails, "survives" or "takes too long"; restores the file."""
    path = tree / mutant.path
    data = path.read_bytes()
    path.write_bytes(data[: mutant.start] + mutant.text.encode() + data[mutant.end :])
    try:
        for some in filter(None, (tests[:FEW], tests[FEW:])):
            outcome = runner.run(some, seconds)
            if outcome != "passed":
                return "killed" if outcome == "failed" else "takes too long"
    finally:
        path.write_bytes(data)
    return "survives"


def main(options: Options) -> int:
    files = sorted(
        path.relative_to(ROOT) for name in options.packages for path in (ROOT / name).rglob("*.py")
    )
    every = [mutant for path in files for mutant in mutants(path)]
    chosen = random.Random(options.seed).sample(every, min(options.count, len(every)))
    fates: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=lambda path, _: SKIPPED if Path(path) == ROOT else ())
        watched = environment(tree, shared_folder())
        ran = tests_of_lines(tree, watched)
        with Runner(tree, watched) as runner:
            for mutant in chosen:
                found = fate(mutant, tests_of(mutant, ran), tree, runner, options.seconds)
                fates[mutant.path.parts[0]][found] += 1
                if found != "killed":
                    print(f"{described(mutant)} {found}", file=sys.stderr, flush=True)
    for package, counts in sorted(fates.items()):
        tried, killed, undecided = counts.total(), counts["killed"], counts["takes too long"]
        share = 100 * killed / max(1, tried - undecided)
        print(
            f"{package:8} {tried:4} tried  {killed:4} killed  {undecided:4} undecided  "
            f"{share:5.1f} %"
        )
    return 0


def described(mutant: Mutant) -> str:
    """Its place and what is changed there."""
    old = (ROOT / mutant.path).read_bytes()[mutant.start : mutant.end].decode()
    return f"{mutant.path}:{mutant.line}: {old!r} -> {mutant.text!r}"


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
