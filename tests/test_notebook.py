"""docs/quickstart.ipynb runs from top to bottom, on the backbone that is in the checkout."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CELLS = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
PROGRAMS = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
SMALLER = {
    '"openai-community/gpt2"': repr(str(ROOT / "data/backbones/standin12")),
    "STEPS, EXAMPLES = 300, 400": "STEPS, EXAMPLES = 6, 24",
    "test_mrs=20": "test_mrs=3",
    "max_new_tokens=64": "max_new_tokens=12",
    "from e2e_score.score": "from eval.score",  # the package's name in a checkout
}


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text, names = "\n".join(PROGRAMS[1:]), {}  # the first one installs
    assert "%pip" in PROGRAMS[0] and all(old in text for old in SMALLER)
    for program in PROGRAMS[1:]:
        for old, new in SMALLER.items():
            program = program.replace(old, new)
        exec(program, names)
    printed = capsys.readouterr().out
    assert "trainable params: 31,097" in printed and "trainable params: 73,728" in printed
    assert printed.count("reference:") == 1 and set(names["scores"]) == {"Solo", "LoRA"}
    assert all(scores["NIST"] >= 0 for scores in names["scores"].values())
    assert names["again"].peft_config["default"].r == 128


def test_the_notebook_carries_no_outputs():
    """They would be somebody's, and of some version."""
    for cell in CELLS:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@pytest.mark.parametrize("name", ["docs/library.md", "README.md"])
def test_the_guides_lead_to_it(name):
    assert "quickstart.ipynb" in (ROOT / name).read_text(encoding="utf-8")
