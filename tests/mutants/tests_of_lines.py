"""Which tests execute which line of a source tree.

In: a copy of the working tree. Out: for each line of eval, prepro and caption the tests that
executed it, themselves or in a process that they started. As a plugin of pytest (`-p
tests.mutants.tests_of_lines`) this module tells coverage.py which test runs.

    python -m tests.mutants
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import coverage
import pytest

SETTINGS = """[run]
data_file = {data}
source = eval,prepro,caption
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
"""
PYTEST = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
PHASE = re.compile(r" \((setup|call|teardown)\)$")  # pytest writes it after the id of a test
TestsOfLines = dict[Path, dict[int, list[str]]]
"""path in the tree, line, ids of tests; "" stands for the import of a module"""


def environment(tree: Path, shared: Path | None) -> dict[str, str]:
    """The environment of tests that run in a copy of the working tree."""
    golden = {"CAPTION_SHARED": str(shared)} if shared else {}
    return os.environ | golden | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


def tests_of_lines(tree: Path, environment: dict[str, str]) -> TestsOfLines:
    """Runs all tests that are not slow once. Those that fail are left out: some, such as those of
    a full disk, fail since coverage.py writes files, too."""
    data, settings = tree.parent / "coverage", tree.parent / "coverage.ini"
    settings.write_text(SETTINGS.format(data=data), encoding="utf-8")
    watched = environment | {"COVERAGE_PROCESS_START": str(settings)}
    subprocess.run([*PYTEST, "-p", __name__], cwd=tree, env=watched, stdout=sys.stderr)
    failed = set(_failed(settings).read_text(encoding="utf-8").splitlines())
    measured = coverage.Coverage(data_file=data, config_file=str(settings))
    measured.combine()
    found: TestsOfLines = {}
    for name in measured.get_data().measured_files():
        path = Path(name).resolve()
        if not path.is_relative_to(tree.resolve()):  # of a copy that a test made
            continue
        lines: dict[int, list[str]] = defaultdict(list)
        for line, contexts in measured.get_data().contexts_by_lineno(name).items():
            tests = {PHASE.sub("", context) for context in contexts}
            lines[line] = sorted(tests - failed)
        found[path.relative_to(tree.resolve())] = lines
    return found


def _failed(settings: Path) -> Path:
    """The file with the ids of the tests that failed."""
    return settings.with_name("failed.txt")


def pytest_configure() -> None:
    _failed(Path(os.environ["COVERAGE_PROCESS_START"])).touch()


def pytest_runtest_logstart(nodeid: str) -> None:
    """From now on lines belong to this test."""
    running = coverage.Coverage.current()
    assert running is not None
    running.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        with open(_failed(Path(os.environ["COVERAGE_PROCESS_START"])), "a") as file:
            file.write(report.nodeid + "\n")
