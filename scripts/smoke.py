"""Run every row of Tables 1 to 6 in miniature: scripts/smoke.py

Two optimizer steps on generated data, a random backbone of 12 (for GPT-2 M 24) thin blocks, a few
MRs; everything else as the row has it. It says that every experiment runs from its file to its
table, and nothing else: the runs are marked as no reproduction and stay in results/smoke, which is
made anew each time. Overrides go to every row: scripts/smoke.py adapter.variant=devcode
  --rows table1/solo_s,table6/solo_s_vector   only these
"""

import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.tables.report import write_table
from solo.cli.command import RESULTS, one_line_errors, plain_parser
from solo.cli.evaluate import evaluate_runs
from solo.cli.rows import compose_row, compose_rows, row_names, tables_named
from solo.cli.tables import table_of
from solo.runs.runner import run_all
from solo.standin import corpus, plain
from solo.standin.demo_data import write_demo_data

STAND_IN = "smoke: random thin GPT-2, two steps, generated data; not a reproduction"
SMALL = ["data=demo", "train.max_steps=2", "train.log_every=1", "decode.max_new_tokens=8"]


def prepare(out: Path) -> None:
    """Write the generated data and a backbone for each of the two depths."""
    write_demo_data(
        out / "data", train_rows=16, valid_rows=4, test_mrs=3, pretrain_lines=60,
        pretrain_valid_lines=5,
    )  # fmt: skip
    tokenizer = corpus.train_tokenizer([out / "data" / "pretrain.txt"], 400)
    for n_layer in (12, 24):
        shape = {"n_layer": n_layer, "n_embd": 32, "n_head": 2, "n_positions": 256}
        model = plain.new_model(shape, tokenizer, 1, STAND_IN)
        model.cpu().save_pretrained(backbone_of(out, n_layer))
        tokenizer.save_pretrained(backbone_of(out, n_layer))


def backbone_of(out: Path, n_layer: int) -> Path:
    return out / f"backbone_{n_layer}"


def smoke(out: Path, names: list[str], overrides: list[str]) -> tuple[int, list[str]]:
    """Run `names` under `out`; returns the number of runs and a line for each row that failed."""
    prepare(out)
    depths = {
        name: 24 if compose_row(name, []).model.path.endswith("medium") else 12 for name in names
    }
    rows = []
    for n_layer in sorted(set(depths.values())):
        paths = [f"model.path={backbone_of(out, n_layer)}", f"data.dir={out}/data"]
        chosen = [name for name in names if depths[name] == n_layer]
        rows += compose_rows(chosen, [*SMALL, *paths, f"runs_dir={out}/runs", *overrides])
    runs = [row.run for row in rows]
    outcome = run_all(runs, no_progress, "done", evaluate_runs, at_once=True)
    return len({run.decoding for run in runs}), outcome.failures


@contextmanager
def no_progress(label: str):
    """No bar: every run takes a second."""
    yield lambda done, total, info=None: None


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--rows", help="comma-separated rows (default: all)")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every row")
    args = parser.parse_intermixed_args()
    start, out = time.monotonic(), RESULTS / "smoke"
    with one_line_errors():
        names = row_names(tables_named("all"), args.rows)
        shutil.rmtree(out, ignore_errors=True)
        runs, failed = smoke(out, names, args.overrides)
        for table in sorted({name.split("/")[0] for name in names}):
            write_table(table_of(table, out / "runs"), out / "tables")
    seconds = time.monotonic() - start
    print(f"{len(names)} rows, {runs} runs, {len(failed)} rows failed, {seconds:.0f} s: {out}")
    if failed:
        print("failed rows:", *failed, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
