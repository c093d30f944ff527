"""The pages on the methods; a new method is a file, a config and a line of the registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config

from eval.tables.lines import load_reported
from scripts import methods
from solo.adapters import METHODS
from solo.cli.command import CONFIGS, ROOT

METHOD = '''
"""A method that this test throws away."""

from dataclasses import dataclass

import torch
from torch import nn

from solo.adapters.base import Hook, HookedMethod, check


@dataclass(frozen=True)
class Config:
    """scale of the shift."""

    scale: float = 2.0

    def __post_init__(self):
        check(self.scale > 0, f"adapter.scale is {self.scale}; it must be above 0")


class Shift(HookedMethod):
    """A trained shift of the embeddings. It starts at zero."""

    Config = Config
    label = "Thrown away"
    trains = "a vector"
    where = "the embeddings"
    count = "d"
    source = "this test"

    def __init__(self, model, config, seed):
        module = nn.ParameterDict({"shift": torch.zeros(model.config.hidden_size)})
        hook = Hook(model.get_input_embeddings(), after=lambda x, y: self.shifted(y))
        super().__init__(model, module, [hook])
        self.scale = config.scale

    def shifted(self, y):
        return y + self.scale * self.module["shift"]

    @staticmethod
    def n_params(shape, config):
        return shape.hidden_size + WRONG
'''
RUN = """
import sys
sys.path[:0] = [{root!r}, {home!r}]
from shift import Shift
from solo.adapters import METHODS
METHODS["shift"] = Shift
from eval.tables.lines import load_reported
from scripts import methods
methods.main()
"""


def run_pages(home: Path, wrong: int) -> subprocess.CompletedProcess:
    """scripts/methods.py on a registry with the method; the contract test for it alone."""
    shutil.copytree(CONFIGS / "adapter", home / "configs")
    shutil.copytree(ROOT / "docs", home / "docs")
    (home / "shift.py").write_text(METHOD.replace("WRONG", str(wrong)), encoding="utf-8")
    (home / "configs/shift.yaml").write_text("name: shift\nscale: 3.0\n")
    (home / "run.py").write_text(RUN.format(root=str(ROOT), home=str(home)))
    options = ["--configs", str(home / "configs"), "--docs", str(home / "docs")]
    return subprocess.run(
        [sys.executable, str(home / "run.py"), *options],
        env=os.environ | {"PYTEST_ADDOPTS": "-k shift"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def cells(page: Path, name: str) -> list[str]:
    [line] = [x for x in page.read_text(encoding="utf-8").splitlines() if f"| {name} |" in x]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_new_method_is_on_both_pages_and_tested_unasked(tmp_path):
    done = run_pages(tmp_path, wrong=0)
    assert done.returncode == 0, done.stdout + done.stderr
    page = tmp_path / "docs/methods.md"
    row = ["shift", "a vector", "the embeddings", "d", "768", "this test"]
    assert cells(page, "shift") == row
    text = page.read_text(encoding="utf-8")
    assert "- Thrown away (`shift`): A trained shift of the embeddings.\n" in text
    assert "`shift` compute beside the weights and cannot be merged" in " ".join(text.split())
    properties, held = (cells(tmp_path / "docs/contract.md", name) for name in ("method", "shift"))
    table = dict(zip(properties, held, strict=True))
    assert table.pop("merged model gives the same logits") == "–"
    assert table.pop("method") == "shift" and set(table.values()) == {"1"}
    assert len(table) == 13  # all but what is about targets, or sizes by hand


def test_a_new_method_with_a_wrong_count_fails(tmp_path):
    assert run_pages(tmp_path, wrong=1).returncode == 1
    properties, held = (cells(tmp_path / "docs/contract.md", name) for name in ("method", "shift"))
    failed = [p for p, cell in zip(properties, held, strict=True) if cell == "FAILED"]
    assert failed == ["count is the closed form"]


def test_the_page_at_hand_is_what_the_classes_say():
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert methods.rewritten(page, CONFIGS / "adapter") == page


@pytest.mark.parametrize("name", METHODS)
def test_a_class_says_all_of_itself(name):
    """The family table's row of each method begins with its label."""
    method = METHODS[name]
    assert methods.first_sentence(method) != methods.first_sentence(method.__bases__[0])
    assert method.n_params(GPT2Config(), method.Config()) >= 0
    labels = {row["row"]: row["label"] for row in load_reported()["family"]["rows"]}
    assert labels[f"family/{name}"].startswith(method.label)


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="docs/methods.md has lost a mark; it needs"):
        methods.rewritten("# Methods\n", CONFIGS / "adapter")
