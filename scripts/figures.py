"""Draw the pictures of finished runs: scripts/figures.py (all), or scripts/figures.py table2

Writes TABLE_loss, TABLE_lambda and, for Tables 2, 3 and the family, TABLE_bleu, as PNG and SVG;
prints their paths.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.tables.write import write_figures
from solo.cli.command import TABLES, one_line_errors, table_arguments
from solo.cli.tables import table_of, tell_left_out
from solo.files import as_typed


def main() -> None:
    args = table_arguments(__doc__, "results/figures")
    with one_line_errors():
        left_out, paths = {}, []
        for name in args.tables:
            runs_dir, _, own = TABLES[name]
            table = table_of(name, args.runs or runs_dir)
            new = write_figures(table, args.out or own, args.force)
            print(*map(as_typed, new), sep="\n", end="\n" if new else "")
            paths += new
            left_out |= dict.fromkeys(table.left_out)
        damaged = tell_left_out(left_out)
        places = ", ".join(dict.fromkeys(as_typed(path.parent) for path in paths))
        made = f"{len(paths)} pictures in {places}"
        ending([made] if paths else ["no picture: no run has anything to draw"], "make tables")
        sys.exit(1 if damaged else 0)


if __name__ == "__main__":
    main()
