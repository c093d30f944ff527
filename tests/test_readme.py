"""The README's table of open choices says what the configs and the code do."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from transformers import GPT2Config

from eval.tables.lines import load_reported
from solo.adapters import METHODS, make_config
from solo.adapters.solo import Config, preset
from solo.cli.rows import row_settings

ROOT = Path(__file__).resolve().parent.parent
SECTION = "## What the paper leaves open\n"


def choices() -> list[tuple[list[str], str, str]]:
    """(keys, default, devcode) of every line of the table; the last two as written."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(quoted(key), default, devcode) for _, key, default, devcode, _ in cells]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def values(cell: str) -> list:
    return [yaml.safe_load(re.sub(r"^(\d)e", r"\1.0e", text)) for text in quoted(cell)]


SOLO = [c for c in choices() if c[0][0].startswith("adapter.") and quoted(c[2])]


@pytest.mark.parametrize(("keys", "default", "devcode"), SOLO, ids=[c[0][0] for c in SOLO])
@pytest.mark.parametrize("sparsity", [0.0, 0.4])
def test_the_variants_values(keys, default, devcode, sparsity):
    names = [key.removeprefix("adapter.") for key in keys]
    dense, _, sparse = devcode.partition("; sparse: ")
    expected = {"paper": default, "devcode": sparse if sparse and sparsity else dense}
    for variant, cell in expected.items():
        config = Config(variant=variant, sparsity=sparsity).resolved()
        assert [getattr(config, name) for name in names] == values(cell)


def test_every_key_that_a_variant_decides_is_there_once():
    keys = Counter(key for names, _, _ in choices() for key in names)
    decided = {*preset("paper", True), "start", "stride", "reach", "mask_seed", "sparsity"}
    assert decided <= {key.removeprefix("adapter.") for key in keys}
    assert [key for key, n in keys.items() if n > 1] == ["adapter.rank"]  # LoRA's, S and M


def test_the_recipes_values():
    recipe = yaml.safe_load((ROOT / "configs/train/default.yaml").read_text(encoding="utf-8"))
    table = {keys[0]: values(default) for keys, default, _ in choices()}
    open_keys = {key for key in table if key.startswith("train.")}
    assert len(open_keys) == 5
    assert all(table[key] == [recipe[key.removeprefix("train.")]] for key in open_keys)
    solo = yaml.safe_load((ROOT / "configs/adapter/solo.yaml").read_text(encoding="utf-8"))
    assert table["adapter.mask_seed"] == [solo["mask_seed"]]


def test_loras_ranks():
    ranks = [values(default) for keys, default, _ in choices() if keys == ["adapter.rank"]]
    rows = ("table1/lora_s", "table1/lora_m")
    assert ranks == [[settings["adapter"]["rank"]] for settings in row_settings(rows).values()]


def test_how_each_table_reads_s():
    [default] = [default for keys, default, _ in choices() if keys == ["adapter.sparsity"]]
    readings = {"masked": set(), "kept": set()}
    for name, table in load_reported().items():
        for row in table["rows"] if name.startswith("table") else []:
            if "s" in row:
                masked = row_settings([row["row"]])[row["row"]]["adapter"]["sparsity"]
                reading = {row["s"]: "masked", round(1 - row["s"], 6): "kept"}[masked]
                size = row["row"].split("_")[1].upper()
                readings[reading].add(f"Table 1's {size}" if name == "table1" else name[-1])
    said = dict(part.split(": ") for part in default.split("; "))
    for reading, where in readings.items():
        tables = sorted(part for part in where if len(part) == 1)
        [of_table1] = where - set(tables)
        assert said[reading] == f"Tables {', '.join(tables)}, {of_table1}"


def test_the_list_of_methods_has_every_count():
    """docs/methods.md against the closed forms, with the defaults of configs/adapter."""
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    found = {row[0].strip("| "): int(row[4].replace(",", "")) for row in rows}
    expected = {}
    for name in METHODS:
        options = yaml.safe_load((ROOT / f"configs/adapter/{name}.yaml").read_text())
        options.pop("defaults")
        method, config = make_config(options)
        expected[name] = method.n_params(GPT2Config(), config)
    assert found == expected
