"""What follows from the registry of methods -> docs/methods.md, docs/contract.md, family rows

docs/methods.md between its two marks: what the classes of the methods say of themselves, and their
counts on GPT-2 S with the options of configs/adapter. docs/contract.md: the properties that every
method was tested for, of a run of the contract test. configs/experiment/family/NAME.yaml, the
method's row in the family table, where there is none: with those options. solo/runs/defaults.json:
the method's part in the table behind the short names of runs, where there is none.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eval.command import ending
from scripts.checks.contract import write_contract
from solo.cli.command import CONFIGS, ROOT, plain_parser
from solo.cli.method_pages import add_defaults, add_rows, rewritten
from solo.files import as_typed, write_text
from solo.runs.identity import DEFAULTS


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="the tree of options")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the pages are")
    parser.add_argument("--defaults", type=Path, default=DEFAULTS, help="of runs' short names")
    args = parser.parse_args()
    page = args.docs / "methods.md"
    write_text(page, rewritten(page.read_text(encoding="utf-8"), args.configs))
    add_rows(args.configs)
    add_defaults(args.defaults)
    status = write_contract(args.docs / "contract.md")
    ending([as_typed(page), as_typed(args.docs / "contract.md")], "make params")
    sys.exit(status)


if __name__ == "__main__":
    main()
