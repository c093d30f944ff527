"""Write the parameter audit, results/tables/params.md and .csv: scripts/params.py

Counts in closed form, from the experiment files alone: no weights are needed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.tables.params import audit_csv, audit_markdown
from solo.cli.command import RESULTS, check_writable, one_line_errors, plain_parser
from solo.cli.counts import audit
from solo.cli.terminal import show
from solo.files import as_typed, check_output, write_output


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "tables", help="where to")
    parser.add_argument("--force", action="store_true", help="replace any files in --out")
    args = parser.parse_args()
    with one_line_errors():
        check_writable(args.out / "params.md")
        rows = audit()
        texts = {"params.csv": audit_csv(rows), "params.md": audit_markdown(rows)}
        for name in texts:
            check_output(args.out / name, force=args.force or args.out == RESULTS / "tables")
        for name, text in texts.items():
            write_output(args.out / name, text)
        show(audit_markdown(rows))
        ending([as_typed(args.out / name) for name in texts], "make plan")


if __name__ == "__main__":
    main()
