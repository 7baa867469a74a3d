"""Which tests execute which line of a source tree.

In: a copy of the working tree. Out: for each line of eval, prepro and caption the tests that
executed it, themselves or in a process that they started, and how long each test took. As a plugin
of pytest (`-p tests.mutants.tests_of_lines`) this module tells coverage.py which test runs.

    python -m tests.mutants
"""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

from tests.mutants.runner import ARGUMENTS

SETTINGS = """[run]
data_file = {data}
source = eval,prepro,caption
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
"""
PHASE = re.compile(r" \((setup|call|teardown)\)$")  # pytest writes it after the id of a test


class TestsOfLines(NamedTuple):
    lines: dict[Path, dict[int, list[str]]]
    """path in the tree, line, ids of tests; "" stands for the import of a module"""
    seconds: dict[str, float]
    """of each test"""


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
    line = [sys.executable, "-m", "pytest", *ARGUMENTS, "-p", __name__]
    subprocess.run(line, cwd=tree, env=watched, stdout=sys.stderr)
    reports = [json.loads(line) for line in _reports(settings).read_text().splitlines()]
    failed = {test for test, passed, _ in reports if not passed}
    seconds: dict[str, float] = defaultdict(float)
    for test, _, duration in reports:  # of its set-up, its call and its end
        seconds[test] += duration
    measured = coverage.Coverage(data_file=data, config_file=str(settings))
    measured.combine()
    found = {}
    for name in measured.get_data().measured_files():
        path = Path(name).resolve()
        if not path.is_relative_to(tree.resolve()):  # of a copy that a test made
            continue
        lines: dict[int, list[str]] = defaultdict(list)
        for line, contexts in measured.get_data().contexts_by_lineno(name).items():
            tests = {PHASE.sub("", context) for context in contexts}
            lines[line] = sorted(tests - failed)
        found[path.relative_to(tree.resolve())] = lines
    return TestsOfLines(found, seconds)


def _reports(settings: Path) -> Path:
    """The file with the tests' ids, whether they passed, and their seconds."""
    return settings.with_name("reports.jsonl")


def pytest_configure() -> None:
    _reports(Path(os.environ["COVERAGE_PROCESS_START"])).touch()


def pytest_runtest_logstart(nodeid: str) -> None:
    """From now on lines belong to this test."""
    running = coverage.Coverage.current()
    assert running is not None
    running.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    with open(_reports(Path(os.environ["COVERAGE_PROCESS_START"])), "a") as file:
        file.write(json.dumps([report.nodeid, not report.failed, report.duration]) + "\n")
