"""The contract test's table, a line for each property; scripts/methods.py writes it."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from eval.markdown import table
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
(`tests/solo/adapters/test_adapters.py`, `tests/solo/adapters/test_bad_options.py`). "Holds for"
names the methods, or how many, that have a property; "cases" counts the sets of options that were
tested. "Not promised by" names methods that declare that they lack it, which is tested too; "does
not apply to" those that have nothing to test it on. `python scripts/methods.py` writes this page.

"""


class Recorder:
    """A plugin of pytest: the results of the tests that belong to a method, or an architecture.

    name_of: of a test's parameters, the name of that, or None.
    """

    def __init__(self, name_of: Callable[[dict], str | None]):
        self.name_of = name_of
        self.names: dict[str, str] = {}  # of a test's id
        self.results = defaultdict(list)  # (name, test): "passed", "not promised" or "failed"

    def pytest_collection_modifyitems(self, items) -> None:
        for item in items:
            given = item.callspec.params if hasattr(item, "callspec") else {}
            if name := self.name_of(given):
                self.names[item.nodeid] = name

    def pytest_runtest_logreport(self, report) -> None:
        if report.nodeid in self.names and (report.when == "call" or not report.passed):
            test = report.nodeid.split("::")[1].split("[")[0]
            words = "not promised" if dict(report.user_properties) else report.outcome
            self.results[self.names[report.nodeid], test].append(words)


def method_of(given: dict) -> str | None:
    """The method that a test's parameters name."""
    return given.get("name") or given.get("options", {}).get("name")


def properties(results: dict[tuple[str, str], list[str]], names: Iterable[str]) -> str:
    """Markdown: a line for each test, with the names for which it held and those for which not."""
    names = list(names)
    head, rows = ("property", "holds for", "cases", "not promised by", "does not apply to"), []
    for test in dict.fromkeys(test for _, test in results):
        cases = {name: results.get((name, test), []) for name in names}
        held = [name for name, outcomes in cases.items() if "passed" in outcomes]
        failed = [n for n, outcomes in cases.items() if {*outcomes} - {"passed", "not promised"}]
        refused = [name for name, outcomes in cases.items() if {*outcomes} == {"not promised"}]
        left = [name for name, outcomes in cases.items() if not outcomes]
        cells = [title(test), _some(held, names), str(sum(map(len, cases.values())))]
        if failed:
            cells[1] = f"**FAILED: {', '.join(failed)}**"
        others = "all others" if len(left) > len(names) / 2 else ", ".join(left)
        rows.append([*cells, ", ".join(refused), others])
    return "\n".join(table(head, rows, "llrll")) + "\n"


def title(test: str) -> str:
    """A test's name in words."""
    return test.removeprefix("test_").replace("_", " ")


def _some(some: list[str], names: list[str]) -> str:
    """Which of `names`, by number where they are many."""
    if len(some) == len(names):
        return f"all {len(names)}"
    return str(len(some)) if len(some) > len(names) / 2 else ", ".join(some)


def write_contract(path: Path) -> int:
    """Run the contract test and write its table; the exit status of the run."""
    recorder = Recorder(method_of)
    status = run_tests(TESTS, recorder)
    write_text(path, INTRO + properties(recorder.results, METHODS))
    return status


def run_tests(tests: Iterable[Path], recorder: Recorder) -> int:
    """Run files of tests, in this process; the exit status of the run."""
    options = ["-q", "--disable-warnings", "-p", "no:cacheprovider"]
    return int(pytest.main([*options, *map(str, tests)], plugins=[recorder]))
