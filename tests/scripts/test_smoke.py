"""A sample of the 37 rows of `make smoke`, from experiment file to table, in this process."""

import json
import math
from types import SimpleNamespace

import yaml

from eval.tables.lines import load_reported
from eval.tables.runs import read_runs
from eval.tables.write import write_table
from solo.cli.command import CONFIGS
from solo.cli.rows import row_names, tables_named
from solo.cli.smoke import STAND_IN, smoke
from solo.cli.tables import table_of

SAMPLE = [  # every method, size, span, frozen matrices, no homotopy; two that share a run
    "table1/full_m",
    "table2/lora_s",
    "table1/solo_s",
    "table2/solo_s_r128_sparse",
    "table3/solo_m_r512_sparse",
    "table4/solo_s_r64_span5",
    "table5/solo_s_r1024_frozen",
    "table6/solo_s_vector",
]


def test_rows_in_miniature(tmp_path, scores_at_hand):
    runs, failed = smoke(tmp_path, SAMPLE, [])
    assert (runs, failed) == (7, [])
    directories = sorted(path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    filled = []
    for directory in directories:
        filled += json.loads((directory / "rows.json").read_text())
        losses = [json.loads(x) for x in (directory / "train_log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in losses if "loss" in line] == [1, 2]
        assert all(math.isfinite(line.get("loss", line.get("valid_loss"))) for line in losses)
        config = yaml.safe_load((directory / "config.yaml").read_text())
        row = yaml.safe_load((CONFIGS / "experiment" / f"{config['row']}.yaml").read_text())
        for key, value in row.get("adapter", {}).items():
            assert config["adapter"][key] == value, config["row"]
    assert sorted(filled) == sorted(SAMPLE)

    found, left_out = read_runs(tmp_path / "runs", load_reported())
    assert len(found) == 7 and left_out == []
    assert all(run.marks[0] == STAND_IN for run in found)  # never among reproductions
    table = write_table(table_of("table6", tmp_path / "runs"), tmp_path / "tables")
    apart = table.split("Not counted as reproductions")[1]
    assert STAND_IN in apart and STAND_IN not in table.split("Not counted as reproductions")[0]


def test_a_row_that_fails_is_named(tmp_path):
    runs, failed = smoke(tmp_path, ["table4/solo_s_r64_span5"], ["adapter.start=12"])
    assert runs == 1 and len(failed) == 1
    label = "table4/solo_s_r64_span5, lr 0.0002, seed 1"
    assert failed[0].startswith(f"{label}: adapter.start")


def test_all_rows_are_those_of_the_paper():
    assert len(row_names(tables_named("all"), None)) == 37


def test_a_row_that_fails_in_miniature_is_named_by_the_command(tmp_path, monkeypatch, run_script):
    monkeypatch.setattr("solo.cli.command.RESULTS", tmp_path)
    monkeypatch.setattr("solo.cli.smoke.smoke", lambda *words: (1, ["table1/lora_s: no"]))
    done = run_script("scripts/smoke.py", "--rows", "table1/lora_s")
    assert done.code == 1 and done.err.endswith("failed rows:\n  table1/lora_s: no\n")
    assert "1 rows, 1 runs, 1 rows failed, " in done.out


def test_rows_of_gpt2_m_have_its_depth(tmp_path, monkeypatch):
    runs = []

    def run_all(some, *rest, **more):
        runs.extend(some)
        return SimpleNamespace(failures=[])

    monkeypatch.setattr("solo.cli.smoke.run_all", run_all)
    smoke(tmp_path, ["table1/lora_m", "table1/lora_s"], [])
    depths = {run.config.row: run.config.model.path.rpartition("_")[2] for run in runs}
    assert depths == {"table1/lora_s": "12", "table1/lora_m": "24"}
