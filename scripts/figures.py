"""Draw the pictures of finished runs: scripts/figures.py (all), or scripts/figures.py table2

Writes TABLE_loss, TABLE_lambda and, for Tables 2 and 3, TABLE_bleu, as PNG and SVG; prints their
paths.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.report import write_figures
from eval.runs import shown
from scripts.cli import PAPER_TABLES, RESULTS, TABLES, one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", choices=sorted(TABLES), help="default: all but demo")
    parser.add_argument("--runs", type=Path, help="directory of runs (default: the table's own)")
    parser.add_argument("--out", type=Path, help="where to (default: results/figures)")
    args = parser.parse_args()
    with one_line_errors():
        for name in [args.table] if args.table else PAPER_TABLES:
            own = TABLES["demo"][1] if name == "demo" else RESULTS / "figures"
            for path in write_figures(name, args.runs or TABLES[name][0], args.out or own):
                print(shown(path))


if __name__ == "__main__":
    main()
