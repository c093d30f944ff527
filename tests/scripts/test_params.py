"""The parameter audit, row by row, against really attached adapters and the paper's formula."""

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from eval.tables.lines import load_reported
from eval.tables.params import Counts
from scripts.params import main
from solo.adapters import make_config
from solo.backbones.loading import sizes_of
from solo.backbones.shapes import gpt2_shapes
from solo.cli.counts import audit, doubt, row_counts
from solo.cli.rows import reported_tables, row_settings, settings_of

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = [load_reported()[f"table{number}"] for number in range(1, 7)]
NAMES = [row["row"] for table in TABLES for row in table["rows"]]
# Connections by the paper's text (5 and 11) and, for the spans, by docs/reproduce.md.
CONNECTIONS = {("gpt2", 1): 5, ("gpt2-medium", 1): 11, ("gpt2", 3): 2, ("gpt2", 5): 1}


@pytest.fixture(scope="module")
def rows() -> dict[str, Counts]:
    return {row.row: row for row in audit()}


@pytest.fixture(scope="module")
def models() -> dict[str, GPT2LMHeadModel]:
    """Both backbones without data, by the hub's name."""
    with torch.device("meta"):
        return {path: GPT2LMHeadModel(shape) for path, shape in gpt2_shapes().items()}


def test_every_row_is_there(rows):
    expected = {"table1": 5, "table2": 11, "table3": 12, "table4": 4, "table5": 3, "table6": 2}
    expected |= {"extra": 3, "family": len(reported_tables()["family"]["rows"])}
    assert Counter(row.table for row in rows.values()) == expected
    assert {row.table for row in rows.values() if row.reported is None} == {"extra", "family"}


def attached(models, row: str, **changes) -> dict[str, int]:
    """{name: size} of the parameters that the row really trains."""
    settings = settings_of(row)
    model = models[settings["model"]["path"]]
    method, config = make_config(settings["adapter"] | changes)
    handle = method.attach(model, config, 1)
    sizes = {name: p.numel() for name, p in handle.parameters.items()}
    handle.detach()
    return sizes


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_a_really_attached_adapter(rows, models, name):
    row, sizes = rows[name], attached(models, name)
    assert row.with_lambdas == sum(sizes.values())
    assert row.exact == sum(sizes.values()) - sizes.get("lambda_", 0)
    if row.devcode is not None:
        assert row.devcode == sum(attached(models, name, variant="devcode").values())


@pytest.mark.parametrize("name", [name for name in NAMES if "/solo_" in name])
def test_exact_is_the_formula_of_appendix_b(rows, name):
    settings = settings_of(name)
    a, hub = settings["adapter"], settings["model"]["path"].split("/")[1]
    d, r = {"gpt2": 768, "gpt2-medium": 1024}[hub], a["rank"]
    T = CONNECTIONS[hub, a["span"]]
    matrices = 2 * round((1 - a["sparsity"]) * d * r) if a["trainable_matrices"] else 0
    assert rows[name].exact == matrices + T * (r + d)
    assert rows[name].with_lambdas == rows[name].exact + (T if a["homotopy"] else 0)
    dense = 2 * d * r + r + d if a["trainable_matrices"] else 0
    assert rows[name].devcode == dense + T * (r + d + (1 if a["homotopy"] else 0))


def test_the_tables_counts_are_those_of_the_audit(rows):
    counts = row_counts(row_settings(rows))
    assert counts == {
        name: {"paper": row.with_lambdas}
        | ({} if row.devcode is None else {"devcode": row.devcode})
        for name, row in rows.items()
    }
    assert row_counts(row_settings(["demo/solo"])) == {}  # no backbone of the hub's


# By hand from the formula: GPT-2 S, r=512: 2 * 768 * 512 + 5 * 1280, and so on.
@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("table2/solo_s_r512", 792_832),
        ("table2/solo_s_r128_sparse", 122_444),
        ("table3/solo_m_r128_sparse", 91_316),
        ("table4/solo_s_r64_span3", 40_986),
        ("table5/solo_s_r1024_frozen", 8_960),
        ("table1/lora_m", 24 * 2 * 2 * 1024 * 4),
    ],
)
def test_some_by_hand(rows, name, exact):
    assert rows[name].exact == exact


def test_the_committed_files_are_what_the_command_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["params.py", "--out", str(tmp_path)])
    main()
    for name in ("params.csv", "params.md"):
        committed = (ROOT / "results" / "tables" / name).read_text(encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == committed, "run `make params`"
    assert capsys.readouterr().out.rstrip("\n") + "\n" == committed.rstrip("\n") + "\n"
    notes = {r["row"]: r["note"] for r in csv.DictReader(open(tmp_path / "params.csv"))}
    assert notes["table2/solo_s_r512_sparse"] == "fits 60% kept, cut off"
    assert notes["table3/solo_m_r64_sparse"] == "fits 60% masked"
    assert notes["table3/solo_m_r512_sparse"].startswith("fits neither: 70% masked gives 331,468")


def test_a_file_of_ones_own_in_the_audits_place_stays(tmp_path, run_script):
    (tmp_path / "params.csv").write_text("precious")
    done = run_script("scripts/params.py", "--out", tmp_path)
    assert done.code == 1 and "params.csv is there already, and not as this" in done.err
    assert (tmp_path / "params.csv").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["params.csv"]


def test_full_fine_tuning_has_positions_too(monkeypatch):
    """How many, its record does not say; none at all cannot be."""
    monkeypatch.setattr("solo.cli.counts.short_name", lambda training: "a")
    shape = sizes_of(gpt2_shapes()["openai-community/gpt2"])
    without = 124_439_808 - 1024 * 768
    for n_params, right in ((124_439_808, True), (without, False), (without + 1, False)):
        train = {"n_params": n_params, "backbone": {"shape": shape}}
        words = doubt({}, {"name": "full"}, train)
        assert words is None if right else words.endswith(f"has {without:,} and the positions")
