"""The pages on the methods; a new method is a file, a config and a line of the registry."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config

from solo.adapters import METHODS
from solo.adapters.base import Method
from solo.adapters.lora import Lora
from solo.cli import method_pages
from solo.cli.command import CONFIGS, ROOT
from solo.cli.rows import reported_tables
from solo.files import read_json
from solo.runs.identity import DEFAULTS

METHOD = '''
"""A method that this test throws away."""

from dataclasses import dataclass

import torch
from torch import nn

from solo.adapters.base import Hook, HookedMethod
from solo.options import check


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
        return shape.hidden_size


class Miscounted(Shift):
    """The same with a wrong count."""

    @staticmethod
    def n_params(shape, config):
        return shape.hidden_size + 1
'''
RUN = """
import sys
sys.path[:0] = [{root!r}, {home!r}]
from shift import Miscounted, Shift
from solo.adapters import METHODS
METHODS.update(shift=Shift, bad_shift=Miscounted)
from scripts import methods
methods.main()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Where scripts/methods.py ran on a registry with both; the contract test for them alone."""
    home = tmp_path_factory.mktemp("methods")
    shutil.copytree(CONFIGS, home / "configs")
    shutil.copytree(ROOT / "docs", home / "docs")
    (home / "shift.py").write_text(METHOD, encoding="utf-8")
    for name in ("shift", "bad_shift"):
        (home / f"configs/adapter/{name}.yaml").write_text(
            f"defaults: [{name}_schema, _self_]\nname: {name}\nscale: 3.0\n"
        )
    (home / "run.py").write_text(RUN.format(root=str(ROOT), home=str(home)))
    shutil.copy(DEFAULTS, home / "defaults.json")
    options = ["--configs", str(home / "configs"), "--docs", str(home / "docs")]
    options += ["--defaults", str(home / "defaults.json")]
    done = subprocess.run(
        [sys.executable, str(home / "run.py"), *options],
        env=os.environ | {"PYTEST_ADDOPTS": "-k shift"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # one has a wrong count
    assert done.stderr.splitlines()[-1].startswith("error: a method breaks its contract; ")
    assert "next: " not in done.stderr
    return home


def contract_of(home: Path) -> dict[str, list[str]]:
    """For whom each property holds, how many cases there are, and who does not promise it."""
    text = (home / "docs/contract.md").read_text(encoding="utf-8").partition("|---")[2]
    lines = [line.strip("|").split("|") for line in text.splitlines()[1:]]
    return {name.strip(): [cell.strip() for cell in rest[:3]] for name, *rest in lines}


def cells(page: Path, name: str) -> list[str]:
    [line] = [x for x in page.read_text(encoding="utf-8").splitlines() if f"| {name} |" in x]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "lora.yaml is missing; write the options of lora there"),
        ("defaults: [solo_schema, _self_]\n", "lora.yaml has the options of solo; in a file of"),
        ("defaults: [lora_schema, _self_]\nname: solo\n", "lora.yaml has the options of solo"),
        ("name: lora\n", r"has no line 'defaults: \[lora_schema, _self_\]'; begin with it"),
        ("", r"has no line 'defaults: \[lora_schema, _self_\]'; begin with it"),
    ],
)
def test_a_method_without_its_file_of_options(tmp_path, content, text):
    shutil.copytree(CONFIGS / "adapter", tmp_path / "adapter")
    file = tmp_path / "adapter/lora.yaml"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ValueError, match=text):
        method_pages._described(tmp_path)


@pytest.mark.parametrize(
    ("part", "text"),
    [("__doc__", "a docstring"), ("n_params", "n_params"), ("label", "label")],
)
def test_a_class_that_lacks_something(monkeypatch, part, text):
    of_class = {"__doc__": None, "n_params": Method.n_params}
    if part == "label":
        monkeypatch.delattr(Lora, part)
    else:
        monkeypatch.setattr(Lora, part, of_class[part])
    with pytest.raises(ValueError, match=f"the class of adapter=lora lacks {text}$"):
        method_pages._described(CONFIGS)


def test_what_a_renamed_method_leaves_behind(home):
    assert method_pages.left_behind(CONFIGS, DEFAULTS) == []
    found = method_pages.left_behind(home / "configs", home / "defaults.json")
    of_both = [note for name in ("bad_shift", "shift") for note in (
        f"{home}/configs/adapter/{name}.yaml: options of no method",
        f"{home}/configs/experiment/family/{name}.yaml: a row of {name}, which is no method",
        f"{home}/defaults.json: defaults of {name}, which is no method",
    )]  # fmt: skip
    assert sorted(found) == sorted(of_both)


def test_a_new_method_is_on_the_page(home):
    page = home / "docs/methods.md"
    row = ["shift", "a vector", "the embeddings", "d", "768", "this test"]
    assert cells(page, "shift") == row
    text = page.read_text(encoding="utf-8")
    assert "- Thrown away (`shift`): A trained shift of the embeddings.\n" in text
    assert "`shift`, `bad_shift` (it computes beside them, " in " ".join(text.split())


def test_a_new_method_is_tested_unasked(home):
    held = contract_of(home)
    wrong = held.pop("count is the closed form")
    assert wrong == ["**FAILED: bad_shift**", "2", ""]
    assert held.pop("merged model gives the same logits") == ["", "2", "shift, bad_shift"]
    assert set(map(tuple, held.values())) == {("shift, bad_shift", "2", "")}
    assert len(held) == 24  # all but targets that the backbone lacks, and sizes that do not fit


def test_a_new_method_has_a_row_in_the_family(home):
    rows = home / "configs/experiment/family"
    wanted = (rows / "ssl.yaml").read_text().replace("ssl", "shift")
    assert (rows / "shift.yaml").read_text() == wanted


def test_a_new_method_enters_the_table_of_defaults_and_the_others_stay(home):
    table, before = (read_json(path)["adapter"] for path in (home / "defaults.json", DEFAULTS))
    assert table.pop("shift") == table.pop("bad_shift") == {"scale": 2.0}
    assert table == before


def test_the_page_at_hand_is_what_the_classes_say():
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert method_pages.rewritten(page, CONFIGS) == page


@pytest.mark.parametrize("name", METHODS)
def test_a_class_says_all_of_itself(name):
    """The family table's row of each method begins with its label."""
    method = METHODS[name]
    assert method_pages.first_sentence(method) != method_pages.first_sentence(method.__bases__[0])
    assert method.n_params(GPT2Config(), method.Config()) >= 0
    labels = {row["row"]: row["label"] for row in reported_tables()["family"]["rows"]}
    assert labels[f"family/{name}"].startswith(method.label)
