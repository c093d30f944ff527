"""The contract test's matrix, a line for each method; scripts/methods.py writes it.

A cell has the number of cases (sets of options) in which the property holds, "–" where the method
promises none (and the test checks that it says so), FAILED where one fails.
"""

from collections import defaultdict
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
    """A plugin of pytest: the results of every test that has a method, by method and test."""

    def __init__(self):
        self.methods: dict[str, str] = {}  # of a test's id
        self.results = defaultdict(list)  # (method, test): "passed", "not promised" or "failed"

    def pytest_collection_modifyitems(self, items) -> None:
        for item in items:
            given = item.callspec.params if hasattr(item, "callspec") else {}
            if "name" in given or "name" in given.get("options", {}):
                self.methods[item.nodeid] = given.get("name") or given["options"]["name"]

    def pytest_runtest_logreport(self, report) -> None:
        if report.nodeid in self.methods and (report.when == "call" or not report.passed):
            test = report.nodeid.split("::")[1].split("[")[0]
            words = "not promised" if dict(report.user_properties) else report.outcome
            self.results[self.methods[report.nodeid], test].append(words)


def matrix(results: dict[tuple[str, str], list[str]]) -> str:
    """Markdown: a line for each method, a column for each test."""
    tests = list(dict.fromkeys(test for _, test in results))
    titles = [test.removeprefix("test_").replace("_", " ") for test in tests]
    lines = [["method", *titles], ["---", *["---"] * len(tests)]]
    for method in METHODS:
        lines.append([method, *(cell(results.get((method, test), [])) for test in tests)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(outcomes: list[str]) -> str:
    if set(outcomes) - {"passed", "not promised"}:
        return "FAILED"
    held = outcomes.count("passed")
    return str(held) if held else "–" if outcomes else ""


def write_contract(path: Path) -> int:
    """Run the contract test and write its matrix; the exit status of the run."""
    recorder = Recorder()
    options = ["-q", "--disable-warnings", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *map(str, TESTS)], plugins=[recorder])
    write_text(path, INTRO + matrix(recorder.results))
    return int(status)
