"""Run a table's rows, fill it, draw it: scripts/reproduce.py table1, or all (Tables 1 to 6)

Overrides go to every row: scripts/reproduce.py table1 model.path=DIR train.max_steps=200 seed=1,2
An option adapter.KEY goes to the rows whose method has it. What is done is skipped; a row that
fails is reported at the end, with exit code 1; the others still run. Rows that share backbone, data
and schedule train together on an accelerator (together=false: never); on a CPU they run one by one,
so that each is scored as soon as it can be. Hydra's launchers (requirements-launchers.txt) spread
the rows instead:
  scripts/reproduce.py table2 hydra/launcher=joblib hydra.launcher.n_jobs=4
  scripts/reproduce.py all hydra/launcher=submitit_slurm hydra.launcher.timeout_min=1440 \\
    hydra.launcher.gpus_per_node=1
Options before the overrides:
  --rows solo_s,lora_s   only these rows
  --out DIR              where the tables and pictures go
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.metrics import ALL
from eval.tables.lines import metrics_of, rows_of
from eval.tables.write import page_of, write_figures, write_table
from solo.cli.command import (
    TABLES,
    check_writable,
    one_line_errors,
    plain_parser,
    progress_bar,
    say,
)
from solo.cli.compose import in_checkout
from solo.cli.evaluate import check_references, evaluate_runs
from solo.cli.launch import launch
from solo.cli.listing import by_score
from solo.cli.rows import compose_rows, own_overrides, row_names, split_launcher, tables_named
from solo.cli.tables import table_of, tell_left_out
from solo.cli.terminal import show
from solo.files import as_typed
from solo.options import check
from solo.run_files import SCORES
from solo.runs.run import Run
from solo.runs.runner import run_all
from solo.runs.sharing import pays


def tell(run: Run, scores: dict) -> None:
    lr = run.config.train.lr
    name = next(name for name in ALL if name in scores)  # BLEU, whatever the data set
    say(f"{run.config.row}: lr {lr:g}, {name} {scores[name]:.4f}  {run.directory}")


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("table", choices=[*sorted(TABLES), "all"])
    parser.add_argument("--rows", help="comma-separated names, with or without the table's")
    parser.add_argument("--out", type=Path, help="where table and pictures go, if elsewhere")
    parser.add_argument("--force", action="store_true", help="replace any files in --out")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every row")
    args = parser.parse_intermixed_args()
    failures = []
    with one_line_errors():
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError(
                "reproduce.py runs in one process; start a single row on several GPUs with "
                "`accelerate launch scripts/run.py experiment=ROW`"
            )
        args.force |= args.out is None  # the program's own place
        args.out = args.out and args.out.absolute()
        overrides, launcher = split_launcher(in_checkout(args.overrides, sweeping=True))
        tables = tables_named(args.table)
        rows = compose_rows(row_names(tables, args.rows), overrides, own_overrides(tables))
        folders = list(dict.fromkeys(row.config.runs_dir for row in rows))
        check(len(folders) == 1, f"runs_dir is {', '.join(folders)}; a table takes one folder")
        check_references(row.config for row in rows)
        for place in {args.out or place for table in tables for place in TABLES[table][1:]}:
            check_writable(place / "table")
        runs = [row.run for row in rows]
        if launcher:
            failures = launch(rows, launcher)
        else:
            failures = run_all(
                runs, progress_bar, "done", evaluate_runs, pays(), on_done=tell, say=say
            ).failures
    damaged, made = False, []
    try:
        with one_line_errors():
            for table in tables:
                runs_dir = Path(rows[0].config.runs_dir)
                out_dir, pictures = (args.out or place for place in TABLES[table][1:])
                filled = table_of(table, runs_dir)
                if failures and not any(found for _, found in rows_of(filled)):
                    say(f"{table}: no run to show, so its page stays as it was")
                    continue
                markdown = write_table(filled, out_dir, args.force)
                drawn = write_figures(filled, pictures, args.force)
                show(markdown) if len(tables) == 1 else print(f"{table}: {out_dir}")
                damaged |= tell_left_out(filled.left_out)
                made.append(as_typed(page_of(filled, out_dir)))
                if drawn:
                    made.append(f"{len(drawn)} pictures in {as_typed(pictures)}")
            scored = {run.directory for run in runs if (run.decoding / SCORES).is_file()}
            made.append(f"{len(scored)} runs in {runs_dir}")
            ending(made, by_score(runs_dir, metrics_of(filled)[0].name))
    finally:
        if failures:
            say("\n  ".join(["failed rows:", *failures]))
    sys.exit(int(bool(failures) or damaged))


if __name__ == "__main__":
    main()
