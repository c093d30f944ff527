"""Fill tables from finished runs: scripts/tables.py (all), scripts/tables.py table2, or demo

Reads run directories only. Writes TABLE.md, TABLE.tex and TABLE.csv. One table is printed; of all,
a line each, and the run directories that had to be left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.tables.lines import lines_of, load_reported, rows_of
from eval.tables.report import PLAIN, write_table
from eval.tables.runs import read_runs, shown
from solo.cli.command import TABLES, one_line_errors, table_arguments


def summary(name: str, table: dict, runs: list) -> str:
    """How many lines of a table our runs fill, and how many runs come apart."""
    if name in PLAIN:
        filled = sum(bool(filling) for _, filling in rows_of(table, runs))
        return f"{len(table['rows'])} rows, {filled} filled with stand-ins"
    lines = lines_of(table, runs, {})
    ours = [line for line in lines if line.source == "ours"]
    filled = sum(bool(line.runs) for line in ours)
    apart = sum(line.source == "other" for line in lines)
    return f"{len(table['rows'])} rows, {filled} of {len(ours)} lines filled, {apart} runs apart"


def main() -> None:
    args = table_arguments(__doc__, "the table's own place")
    with one_line_errors():
        reported, left_out = load_reported(), {}
        for name in args.tables:
            runs_dir, out_dir = args.runs or TABLES[name][0], args.out or TABLES[name][1]
            markdown = write_table(name, runs_dir, out_dir)
            runs, lines = read_runs(runs_dir, reported)
            left_out |= dict.fromkeys(lines)
            if args.table:
                print(markdown)
            else:
                found = summary(name, reported[name], runs)
                print(f"{shown(out_dir)}/{PLAIN.get(name, name)}.md: {found}")
        for line in left_out:
            print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
