"""The matrix of the contract test: what a run of tests with a method in them makes of it."""

from scripts.checks import contract
from solo.adapters import METHODS
from solo.cli.command import ROOT

TESTS = """
import pytest

@pytest.mark.parametrize("options", [{"name": "lora", "rank": 3}, {"name": "lora"}])
def test_one_thing(options, record_property):
    if "rank" in options:
        record_property("not promised", "it says so")

@pytest.mark.parametrize("name", ["ssl", "ssb", "vera"])
def test_another(name, record_property):
    if name == "ssb":
        record_property("not promised", "it says so")
    assert name != "vera"

@pytest.fixture
def broken():
    raise RuntimeError

@pytest.mark.parametrize("name", ["full"])
def test_another_still(name, broken):
    pass

def test_of_no_method():
    pass
"""


def test_the_matrix_counts_what_held(tmp_path, monkeypatch):
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.setattr(contract, "TESTS", [tmp_path / "test_it.py"])
    assert contract.write_contract(tmp_path / "contract.md") == 1
    lines = (tmp_path / "contract.md").read_text().splitlines()
    assert "| method | one thing | another | another still |" in lines
    found = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    assert len(found) == len(METHODS) + 2
    for method, cells in {
        "lora": "1 |  |  |",
        "ssl": " | 1 |  |",
        "ssb": " | – |  |",
        "vera": " | FAILED |  |",
        "full": " |  | FAILED |",
        "none": " |  |  |",
    }.items():
        assert found[f"| {method}"] == f"| {method} | {cells}"


def test_the_matrix_at_hand_has_every_method():
    lines = (ROOT / "docs/contract.md").read_text().splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert rows == ["method", "---", *METHODS] and "FAILED" not in "".join(lines)
