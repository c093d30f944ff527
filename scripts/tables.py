"""Fill tables from finished runs: scripts/tables.py (all), scripts/tables.py table2, or demo

Reads run directories only. Writes TABLE.md, TABLE.tex and TABLE.csv. One table is printed; of all,
a line each, and the run directories that had to be left out: with exit code 1, if one is damaged.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.tables.write import PLAIN, page_of, summary, write_table
from solo.cli.command import TABLES, one_line_errors, table_arguments
from solo.cli.tables import table_of, tell_left_out
from solo.cli.terminal import show
from solo.files import as_typed


def main() -> None:
    args = table_arguments(__doc__, "the table's own place")
    with one_line_errors():
        left_out, pages = {}, []
        for name in args.tables:
            runs_dir, out_dir = args.runs or TABLES[name][0], args.out or TABLES[name][1]
            table = table_of(name, runs_dir)
            markdown = write_table(table, out_dir, args.force)
            left_out |= dict.fromkeys(table.left_out)
            pages.append(as_typed(page_of(table, out_dir)))
            if args.table:
                show(markdown)
            else:
                print(f"{as_typed(out_dir)}/{PLAIN.get(name, name)}.md: {summary(table)}")
        damaged = tell_left_out(left_out)
        elsewhere = [
            f"--{key}={shlex.quote(str(folder))}"
            for key, folder in (("runs", args.runs), ("out", args.out))
            if folder
        ]
        words = ["python scripts/figures.py", *([args.table] if args.table else []), *elsewhere]
        ending(pages, " ".join(words) if elsewhere else "make figures")
        sys.exit(1 if damaged else 0)


if __name__ == "__main__":
    main()
