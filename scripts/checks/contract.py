"""The contract test's matrix, a line for each method; scripts/methods.py writes it.

A cell has the number of cases (sets of options) in which the property holds, "–" where the method
promises none (and the test checks that it says so), FAILED where one fails.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from solo.adapters import METHODS
from solo.cli.command import ROOT
from solo.files import write_text

TESTS = [
    ROOT / "tests/solo/adapters/test_adapters.py",
    ROOT / "tests/solo/adapters/test_bad_options.py",
]
INTRO = """\
# The contract of the adapters

Every method is tested for these properties, on a GPT-2 of six blocks of width 16
(`tests/solo/adapters/test_adapters.py`, `tests/solo/adapters/test_bad_options.py`). A number says
in how many cases, sets of options for the most part, the property holds; a dash, that the method
does not promise it; an empty cell, that it does not apply. `python scripts/methods.py` writes this
page.

"""


class Recorder:
    """A plugin of pytest: the results of the tests that belong to a line of a matrix.

    line_of: of a test's parameters, the line that it belongs to, or None.
    """

    def __init__(self, line_of: Callable[[dict], str | None]):
        self.line_of = line_of
        self.lines: dict[str, str] = {}  # of a test's id
        self.results = defaultdict(list)  # (line, test): "passed", "not promised" or "failed"

    def pytest_collection_modifyitems(self, items) -> None:
        for item in items:
            given = item.callspec.params if hasattr(item, "callspec") else {}
            if line := self.line_of(given):
                self.lines[item.nodeid] = line

    def pytest_runtest_logreport(self, report) -> None:
        if report.nodeid in self.lines and (report.when == "call" or not report.passed):
            test = report.nodeid.split("::")[1].split("[")[0]
            words = "not promised" if dict(report.user_properties) else report.outcome
            self.results[self.lines[report.nodeid], test].append(words)


def method_of(given: dict) -> str | None:
    """The method that a test's parameters name."""
    return given.get("name") or given.get("options", {}).get("name")


def matrix(results: dict[tuple[str, str], list[str]], title: str, names: Iterable[str]) -> str:
    """Markdown: a line for each name, a column for each test."""
    tests = list(dict.fromkeys(test for _, test in results))
    titles = [test.removeprefix("test_").replace("_", " ") for test in tests]
    lines = [[title, *titles], ["---", *["---"] * len(tests)]]
    for name in names:
        lines.append([name, *(cell(results.get((name, test), [])) for test in tests)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(outcomes: list[str]) -> str:
    if set(outcomes) - {"passed", "not promised"}:
        return "FAILED"
    held = outcomes.count("passed")
    return str(held) if held else "–" if outcomes else ""


def write_contract(path: Path) -> int:
    """Run the contract test and write its matrix; the exit status of the run."""
    recorder = Recorder(method_of)
    status = run_tests(TESTS, recorder)
    write_text(path, INTRO + matrix(recorder.results, "method", METHODS))
    return status


def run_tests(tests: Iterable[Path], recorder: Recorder) -> int:
    """Run files of tests, in this process; the exit status of the run."""
    options = ["-q", "--disable-warnings", "-p", "no:cacheprovider"]
    return int(pytest.main([*options, *map(str, tests)], plugins=[recorder]))
