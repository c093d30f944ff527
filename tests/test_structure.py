"""Who may import whom (design notes, section 4), and configs that fit the code."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from eval.tables import load_reported
from solo.adapters import METHODS
from solo.train import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
ENTRY_POINTS = {
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
}
# A file's path begins with the first; none of its imports may begin with any of the second.
FORBIDDEN = [
    ("solo/", ("hydra", "omegaconf", "eval", "scripts", "tqdm")),
    ("solo/data.py", ("solo.adapters", "solo.train", "solo.decode", "solo.run")),
    ("solo/backbone.py", ("solo.adapters", "solo.train", "solo.decode", "solo.run")),
    ("solo/adapters/", ("solo.train", "solo.data", "solo.decode", "solo.run", "solo.backbone")),
    ("solo/train.py", ("solo.decode", "solo.run", "solo.backbone")),
    ("solo/decode.py", ("solo.adapters", "solo.train", "solo.run", "solo.checkpoint")),
    ("eval/", ("torch", "transformers", "solo", "hydra", "omegaconf", "scripts")),
    ("scripts/", tuple(f"scripts.{name}" for name in sorted(ENTRY_POINTS))),
]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_go_one_way():
    files = [path for room in ("solo", "eval", "scripts") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 20 and len(ENTRY_POINTS) >= 8
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        for start, banned in FORBIDDEN:
            if name.startswith(start):
                bad = [i for i in imports(path) for b in banned if i == b or i.startswith(b + ".")]
                assert not bad, f"{name} imports {bad}"


def test_no_method_imports_another():
    for name in METHODS:
        found = imports(ROOT / "solo" / "adapters" / f"{name}.py")
        others = {f"solo.adapters.{other}" for other in METHODS}
        assert not any(i == o or i.startswith(o + ".") for i in found for o in others), name


def test_nothing_is_printed_or_unpickled_in_the_library():
    for path in [*(ROOT / "solo").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "torch.load", "pickle.load"), path


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_config_with_its_keys(name):
    keys = list(yaml.safe_load((ROOT / f"configs/adapter/{name}.yaml").read_text()))
    assert keys == ["name", *(f.name for f in fields(METHODS[name].Config))]


def test_train_config_has_the_recipes_keys():
    keys = list(yaml.safe_load((ROOT / "configs/train/default.yaml").read_text()))
    assert keys == [f.name for f in fields(TrainConfig)]


def test_the_default_recipe_is_that_of_the_class():
    values = yaml.safe_load((ROOT / "configs/train/default.yaml").read_text())
    assert TrainConfig(**values | {"betas": tuple(values["betas"])}) == TrainConfig()


def test_every_experiment_composes_and_fills_a_known_row():
    files = sorted((ROOT / "configs/experiment").rglob("*.yaml"))
    names = [path.relative_to(ROOT / "configs/experiment").with_suffix("") for path in files]
    assert len(names) == 9
    known = {row["row"] for t in load_reported().values() if "rows" in t for row in t["rows"]}
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        for name in names:
            cfg = compose("config", overrides=[f"experiment={name.as_posix()}"])
            assert cfg.row == name.as_posix()
    assert {name.as_posix() for name in names} == known
