"""Who may import whom, and configs that fit the code."""

import ast
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from solo.adapters import METHODS, make_config
from solo.cli.compose import without_entry_options
from solo.cli.rows import SETTINGS, reported_tables, row_settings
from solo.runs.config import from_values
from solo.runs.run import make_run
from solo.training.recipe import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
ENTRY_POINTS = {
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
}
# A file's path begins with the first; none of its imports may begin with any of the second.
BELOW = (  # the door, solo/cli
    "files.py", "errors.py", "tensors.py", "adapters/", "backbones/", "datasets/", "decoding/",
    "peft/", "runs/", "standin/", "training/",
)  # fmt: skip
FORBIDDEN = [
    ("solo/", ("scripts", "tests")),
    *[(f"solo/{room}", ("hydra", "omegaconf", "eval", "tqdm", "solo.cli")) for room in BELOW],
    *[
        (f"solo/{shared}.py", ("solo", "eval", "torch", "transformers", "datasets", "safetensors"))
        for shared in ("rows", "triples", "files", "run_files", "errors")
    ],
    ("solo/tensors.py", tuple(f"solo.{room}" for room in ("adapters", "backbones", "runs"))),
    *[
        (f"solo/{room}/", tuple(f"solo.{other}" for other in others.split()))
        for room, others in {
            "backbones": "adapters datasets training decoding peft runs standin",
            "datasets": "adapters backbones training decoding peft runs standin",
            "adapters": "datasets training decoding peft runs standin",
            "training": "decoding peft runs standin",
            "decoding": "adapters datasets training peft runs standin",
            "peft": "datasets training decoding runs standin",
            "runs": "standin",
        }.items()
    ],
    ("eval/", ("torch", "transformers", "solo", "hydra", "omegaconf", "scripts")),
    ("scripts/", tuple(f"scripts.{name}" for name in sorted(ENTRY_POINTS))),
]

# What the scorer shares with the rest.
SHARED_BY_ALL = ("solo.rows", "solo.triples", "solo.files", "solo.run_files", "solo.errors")


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def test_imports_go_one_way():
    files = [path for room in ("solo", "eval", "scripts") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 20 and len(ENTRY_POINTS) >= 8
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        for start, banned in FORBIDDEN:
            if name.startswith(start):
                used = [i for i in imports(path) if i.rpartition(".")[0] not in SHARED_BY_ALL]
                bad = [i for i in used for b in banned if i == b or i.startswith(b + ".")]
                assert not bad, f"{name} imports {bad}"


def test_no_method_imports_another():
    for name in METHODS:
        found = imports(ROOT / "solo" / "adapters" / f"{name}.py")
        others = {f"solo.adapters.{other}" for other in METHODS}
        assert not any(i == o or i.startswith(o + ".") for i in found for o in others), name


def test_peft_is_imported_only_when_a_method_of_its_is_attached():
    for path in (ROOT / "solo").rglob("*.py"):
        if path.parent == ROOT / "solo" / "peft":  # which is nothing without it
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert "peft" not in ast.unparse(tree).replace("from_peft", ""), path


def test_no_command_loads_the_models_of_transformers_before_it_needs_one():
    """That takes 3 seconds, of which `--help`, a typing error and a table need none."""
    commands = ", ".join(f"scripts.{name}" for name in sorted(ENTRY_POINTS))
    code = f"import {commands}, sys; print('transformers.modeling_utils' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_nothing_is_printed_or_unpickled_in_the_library():
    library = (path for path in (ROOT / "solo").rglob("*.py") if "cli" not in path.parts)
    for path in library:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "torch.load", "pickle.load"), path


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_config_with_its_keys(name):
    options = yaml.safe_load((ROOT / f"configs/adapter/{name}.yaml").read_text())
    assert options.pop("defaults") == [f"{name}_schema", "_self_"]
    assert list(options) == ["name", *(f.name for f in fields(METHODS[name].Config))]
    method, config = make_config(options)
    assert method is METHODS[name]
    if name != "solo":  # whose file has the paper's sparsity
        assert config == method.Config()


def test_train_config_has_the_recipes_keys():
    keys = list(yaml.safe_load((ROOT / "configs/train/default.yaml").read_text()))
    assert keys == [f.name for f in fields(TrainConfig)]


def test_the_default_recipe_is_that_of_the_class():
    values = yaml.safe_load((ROOT / "configs/train/default.yaml").read_text())
    assert TrainConfig(**values | {"betas": tuple(values["betas"])}) == TrainConfig()


# Rows of each table of the paper; extra: outside the paper. The family grows with the methods.
N_ROWS = {
    "table1": 5, "table2": 11, "table3": 12, "table4": 4, "table5": 3, "table6": 2,
    "extra": 3, "webnlg": 5, "demo": 4,
}  # fmt: skip
# Rows of several tables that print the same figures or name the same set-up: one run each.
SHARED = [
    {"table1/full_m", "table3/full_m"},
    {"table1/lora_m", "table3/lora_m"},
    {"table1/solo_m", "table3/solo_m_r512_sparse"},
    {"table1/lora_s", "table2/lora_s"},
    {"table1/solo_s", "table2/solo_s_r128_sparse", "table6/solo_s_homotopy"},
    {"table2/solo_s_r512", "table5/solo_s_r512"},
]


@pytest.fixture(scope="module")
def experiments() -> dict[str, dict]:
    """Every experiment's configuration as Hydra composes it, by name; interpolations kept."""
    folder = ROOT / "configs/experiment"
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = {name: compose("config", overrides=[f"experiment={name}"]) for name in names}
    return {name: OmegaConf.to_container(cfg) for name, cfg in composed.items()}


def test_every_experiment_composes_and_fills_a_known_row(experiments):
    n_rows = Counter(name.split("/")[0] for name in experiments)
    assert n_rows == N_ROWS | {"family": n_rows["family"]}
    assert all(cfg["row"] == name for name, cfg in experiments.items())
    tables = {key: table for key, table in reported_tables().items() if "rows" in table}
    assert tables.pop("demo-family")["rows"] == tables["family"]["rows"]
    assert tables.pop("demo-e2e")["rows"] == tables["demo"]["rows"]
    known = [row["row"] for table in tables.values() for row in table["rows"]]
    missing = sorted(set(experiments) - set(known))
    assert not missing, f"add to eval/tables/paper.yaml: {', '.join(missing)}"
    assert sorted(known) == sorted(experiments)


@pytest.mark.parametrize("variant", ["paper", "devcode"])
def test_rows_with_the_same_config_are_one_run(experiments, tmp_path, variant):
    """The 37 rows of the paper's tables are 30 runs."""
    (tmp_path / "any.txt").write_text("name : A||A .\n")
    paths = {f"{s}_path": str(tmp_path / "any.txt") for s in ("train", "valid", "test")}
    rows_of_run = defaultdict(set)
    for name, cfg in experiments.items():
        if name.startswith("table"):
            changes = {"data": cfg["data"] | paths | {"sha256": {}}}
            if cfg["adapter"]["name"] == "solo":
                changes["adapter"] = cfg["adapter"] | {"variant": variant}
            run = make_run(from_values(without_entry_options(cfg | changes)))
            rows_of_run[run.directory.name].add(name)
    assert sum(map(len, rows_of_run.values())) == 37
    assert len(rows_of_run) == 30
    shared = [rows for rows in rows_of_run.values() if len(rows) > 1]
    assert sorted(map(sorted, shared)) == sorted(map(sorted, SHARED))


def test_tables_get_the_experiments_as_hydra_composes_them(experiments):
    for name, settings in row_settings(["table1/solo_s", "family/vera", "demo/lora"]).items():
        for group in SETTINGS:
            for key, value in experiments[name][group].items():
                interpolated = isinstance(value, str) and "${" in value
                assert interpolated or settings[group][key] == value, (name, group, key)
    with pytest.raises(ValueError, match="unknown experiment 'table1/nope'; known: "):
        row_settings(["table1/nope"])


def test_an_experiment_file_says_its_launch_line(experiments):
    for name in experiments:
        text = (ROOT / f"configs/experiment/{name}.yaml").read_text(encoding="utf-8")
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert comments[0] == "# @package _global_"
        line = f"# python scripts/train.py experiment={name}"
        assert comments[-1] == line
