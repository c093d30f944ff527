"""What a table still needs: steps, hours on this machine, disk: scripts/plan.py, or plan.py table2

Overrides as for reproduce.py: scripts/plan.py table1 model.path=DIR train.max_steps=200 seed=1,2
What is missing comes first; rows with the same configuration share one run. Neither weights nor
data need be there. Hours rest on the logs of earlier runs on this hardware or, where there are
none, on a few steps with random weights, timed on the spot (--no-timing leaves them out).
"""

import shlex
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli import planning, timing
from solo.cli.command import TABLES, one_line_errors, plain_parser, say
from solo.cli.compose import in_checkout
from solo.cli.rows import compose_rows, own_overrides, row_names, tables_named
from solo.cli.terminal import show_line


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("table", nargs="?", default="all", help="a table, or all (default)")
    parser.add_argument("--rows", help="comma-separated names, with or without the table's")
    parser.add_argument("--no-timing", action="store_true", help="leave the hours out")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every row")
    args = parser.parse_intermixed_args()
    if "=" in args.table:  # no table, only overrides
        args.table, args.overrides = "all", [args.table, *args.overrides]
    with one_line_errors():
        if args.table not in (*TABLES, "all"):
            raise ValueError(f"unknown table {args.table!r}; known: {', '.join(TABLES)}, all")
        overrides = in_checkout(args.overrides, sweeping=True)
        tables = tables_named(args.table)
        rows = compose_rows(row_names(tables, args.rows), overrides, own_overrides(tables))
        lines, damaged = planning.plan(rows)
        speeds, unfit = ({}, []) if args.no_timing else planning.fill_hours(lines)
        print(planning.report(lines))
        free = shutil.disk_usage(Path.cwd()).free
        print(f"      {free / planning.GB:.1f} GB free here")
        for key, speed in speeds.items():
            mr = planning.number(speed.seconds_per_mr, "{:.2f} s")
            tokens = f"{speed.tokens_per_s:,.0f} tokens/s"
            tokens = "nothing to train" if speed.tokens_per_s == float("inf") else tokens
            rate = f"{tokens}, decoding {mr} per MR"
            show_line(f"rests on: {timing.describe(key)}: {rate} ({speed.source})")
        for text in planning.absent(lines):
            show_line(f"absent: {text}")
        chosen = ["--rows", args.rows] if args.rows else []
        command = ["python", "scripts/reproduce.py", args.table, *chosen, *args.overrides]
        ending([], shlex.join(command))
        for text in (*damaged, *unfit):
            say(f"error: {text}")
        sys.exit(1 if damaged or unfit else 0)


if __name__ == "__main__":
    main()
