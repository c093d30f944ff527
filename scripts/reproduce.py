"""Run a table's rows, fill it, draw it: scripts/reproduce.py table1, or all (Tables 1 to 6)

Overrides go to every row: scripts/reproduce.py table1 model.path=DIR train.max_steps=200 seed=1,2
An option adapter.KEY goes to the rows whose method has it. What is done is skipped; a row that
fails is reported at the end, with exit code 1; the others still run. Rows that share backbone, data
and schedule train together on an accelerator (together=false: never; the CPU would gain nothing).
All else goes row by row; Hydra's launchers (requirements-launchers.txt) spread the rows instead:
  scripts/reproduce.py table2 hydra/launcher=joblib hydra.launcher.n_jobs=4
  scripts/reproduce.py all hydra/launcher=submitit_slurm hydra.launcher.timeout_min=1440
Options before the overrides:
  --rows solo_s,lora_s   only these rows
  --out DIR              where the tables and pictures go
"""

import argparse
import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.tables.report import write_figures, write_table
from solo.backbones.loading import device
from solo.cli import stages
from solo.cli.command import ROOT, TABLES, one_line_errors
from solo.cli.rows import (
    Row,
    by_directory,
    compose_rows,
    own_overrides,
    row_names,
    split_launcher,
    tables_named,
)
from solo.cli.tables import table_of
from solo.runs import record


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def train_together(shared: dict[Path, list[Row]]) -> None:
    """Train those runs that can share passes through the backbone; the others are left alone."""
    if device().type != "cpu":
        configs = [rows[0].config for rows in shared.values() if rows[0].config["together"]]
        stages.train_together(configs, alone=lambda config: None)


def run_in_turn(shared: dict[Path, list[Row]]) -> list[str]:
    """Run one row of each directory here; returns a line for each row that failed."""
    failed = []
    for directory, rows in shared.items():
        say(f"== {', '.join(row.label for row in rows)}")
        try:
            scores = stages.run_all(rows[0].config)
            lr = rows[0].config["train"]["lr"]
            say(f"{rows[0].name}: lr {lr:g}, BLEU {scores['BLEU']:.4f}  {directory}")
            claim(directory, rows)
        except Exception as error:
            failed += [f"{row.label}: {type(error).__name__}: {error}" for row in rows]
            say(f"error: {failed[-1]}")
    return failed


def run_spread(shared: dict[Path, list[Row]], launcher: list[str]) -> list[str]:
    """Run one row of each unfinished directory through Hydra's launcher, as `run_in_turn`."""
    missing = [rows[0] for path, rows in shared.items() if stages.state(path)[0] != "done"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    missing.sort(key=lambda row: row.overrides)
    for overrides, rows in groupby(missing, key=lambda row: row.overrides):
        names = ",".join(row.name for row in rows)
        command = [sys.executable, str(ROOT / "scripts" / "run_row.py"), "-m", *launcher]
        say(f"== {names}")
        subprocess.run([*command, f"experiment={names}", *overrides], env=env)
    failed = []
    for directory, rows in shared.items():
        state, _ = stages.state(directory)
        if state == "done":
            claim(directory, rows)
        else:
            failed += [f"{row.label}: {state}, see its output above or its log" for row in rows]
    return failed


def claim(directory: Path, rows: list[Row]) -> None:
    """Note in a run's directory which rows it fills."""
    with record.lock(directory):
        for row in rows:
            record.claim_row(directory, row.name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=[*sorted(TABLES), "all"])
    parser.add_argument("--rows", help="comma-separated names, with or without the table's")
    parser.add_argument("--out", type=Path, help="where table and pictures go, if elsewhere")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every row")
    args = parser.parse_intermixed_args()
    with one_line_errors():
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError(
                "reproduce.py runs in one process; start a single row on several GPUs with "
                "`accelerate launch scripts/run_row.py experiment=ROW`"
            )
        overrides, launcher = split_launcher(args.overrides)
        tables = tables_named(args.table)
        names, own = row_names(tables, args.rows), own_overrides(tables)
        rows = compose_rows(names, overrides, own)  # all, before any work
        shared = by_directory(rows)
        if launcher:
            failed = run_spread(shared, launcher)
        else:
            train_together(shared)
            failed = run_in_turn(shared)
    try:
        with one_line_errors():
            for table in tables:
                runs_dir = Path(rows[0].config["runs_dir"])
                out_dir, pictures = (args.out or place for place in TABLES[table][1:])
                filled = table_of(table, runs_dir)
                markdown = write_table(filled, out_dir)
                write_figures(filled, pictures)
                print(markdown if len(tables) == 1 else f"{table}: {out_dir}")
    finally:
        if failed:
            say("\n  ".join(["failed rows:", *failed]))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
