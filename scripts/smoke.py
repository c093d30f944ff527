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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.tables.report import write_table
from solo.cli import stages
from solo.cli.command import RESULTS, one_line_errors, plain_parser
from solo.cli.rows import by_directory, compose_rows, row_names, row_settings, tables_named
from solo.cli.tables import table_of
from solo.runs import record, run
from solo.standin import corpus
from solo.standin import plain as pretrain
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
        model = pretrain.new_model(shape, tokenizer, 1, STAND_IN)
        model.cpu().save_pretrained(backbone_of(out, n_layer))
        tokenizer.save_pretrained(backbone_of(out, n_layer))


def backbone_of(out: Path, n_layer: int) -> Path:
    return out / f"backbone_{n_layer}"


def smoke(out: Path, names: list[str], overrides: list[str]) -> tuple[int, list[str]]:
    """Run `names` under `out`; returns the number of runs and a line for each row that failed."""
    prepare(out)
    rows, failed, decoded = [], [], []
    settings = row_settings(names)
    depths = {
        name: 24 if settings[name]["model"]["path"].endswith("medium") else 12 for name in names
    }
    for n_layer in sorted(set(depths.values())):
        paths = [f"model.path={backbone_of(out, n_layer)}", f"data.dir={out}/data"]
        chosen = [name for name in names if depths[name] == n_layer]
        rows += compose_rows(chosen, [*SMALL, *paths, f"runs_dir={out}/runs", *overrides])
    shared = by_directory(rows)
    for directory, filled in shared.items():
        config = filled[0].config
        try:
            run.train_run(config, _quiet)
            run.decode_run(config, directory, _quiet)
            for row in filled[1:]:
                record.claim_row(directory, row.name)
            decoded.append((config, directory))
        except Exception as error:
            failed += [f"{row.name}: {type(error).__name__}: {error}" for row in filled]
    stages.evaluate_all(decoded)
    return len(shared), failed


def _quiet(done: int, total: int, info: dict) -> None:
    pass


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
