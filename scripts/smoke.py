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

from eval.command import ending
from eval.tables.write import write_table
from solo.cli.command import RESULTS, one_line_errors, plain_parser
from solo.cli.rows import row_names, tables_named
from solo.cli.smoke import smoke
from solo.cli.tables import table_of
from solo.files import as_typed


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
    ending([as_typed(out / "tables")], "make plan")
    if failed:
        print("failed rows:", *failed, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
