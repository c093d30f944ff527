"""The table of the contract test: what a run of tests with a method in them makes of it."""

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


def test_the_table_says_for_which_methods_a_property_holds(tmp_path, monkeypatch):
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.setattr(contract, "TESTS", [tmp_path / "test_it.py"])
    assert contract.write_contract(tmp_path / "contract.md") == 1
    lines = (tmp_path / "contract.md").read_text().splitlines()
    assert lines[-3:] == [
        "| one thing | lora | 2 |  | all others |",
        "| another | **FAILED: vera** | 3 | ssb | all others |",
        "| another still | **FAILED: full** | 1 |  | all others |",
    ]


def test_who_holds_a_property_is_told_shortly():
    results = {(name, "test_a"): ["passed"] for name in "abcd"} | {("d", "test_b"): ["passed"]}
    results |= {("a", "test_c"): ["passed", "not promised"], ("b", "test_c"): ["not promised"]}
    results |= {("c", "test_c"): ["passed"], ("d", "test_c"): ["passed"]}
    assert contract.properties(results, "abcd").splitlines()[2:] == [
        "| a | all 4 | 4 |  |  |",
        "| b | d | 1 |  | all others |",
        "| c | 3 | 5 | b |  |",
    ]


def test_the_page_at_hand_has_every_property():
    """Tests are collected, not run."""
    recorder = contract.Recorder(contract.method_of)
    contract.run_tests(["--collect-only", *contract.TESTS], recorder)
    asked = {contract.title(node.split("::")[1].split("[")[0]) for node in recorder.names}
    assert set(recorder.names.values()) == set(METHODS)
    page = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
    lines = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines()]
    assert asked == {line for line in lines[lines.index("property") + 2 :]}, "make methods"
    assert "FAILED" not in page
