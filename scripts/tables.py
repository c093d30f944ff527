"""Fill tables from finished runs: scripts/tables.py table1 (default), or demo

Reads run directories only. Writes TABLE.md, TABLE.csv and TABLE_curves.png, prints the first.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.report import write_table
from scripts.cli import TABLES, one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", default="table1", choices=sorted(TABLES))
    parser.add_argument("--runs", type=Path, help="directory of runs (default: the table's own)")
    parser.add_argument("--out", type=Path, help="where to (default: the table's own)")
    args = parser.parse_args()
    with one_line_errors():
        runs_dir, out_dir = TABLES[args.table]
        print(write_table(args.table, args.runs or runs_dir, args.out or out_dir))


if __name__ == "__main__":
    main()
