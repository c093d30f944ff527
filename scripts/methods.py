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
from solo.cli.command import CONFIGS, ROOT, one_line_errors, plain_parser
from solo.cli.method_pages import add_defaults, add_rows, left_behind, rewritten
from solo.files import as_typed, write_text
from solo.runs.identity import DEFAULTS


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--configs", type=Path, default=CONFIGS, help="the tree of options")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the pages are")
    parser.add_argument("--defaults", type=Path, default=DEFAULTS, help="of runs' short names")
    args = parser.parse_args()
    with one_line_errors():
        page = args.docs / "methods.md"
        write_text(page, rewritten(page.read_text(encoding="utf-8"), args.configs))
        add_rows(args.configs)
        add_defaults(args.defaults)
        for note in left_behind(args.configs, args.defaults):
            print(f"note: {note}; remove it, or give it its method back", file=sys.stderr)
        contract = args.docs / "contract.md"
        status = write_contract(contract)
        ending([as_typed(page), as_typed(contract)], *([] if status else ["make params"]))
        if status:
            raise ValueError(
                f"a method breaks its contract; {as_typed(contract)} has it under FAILED"
            )


if __name__ == "__main__":
    main()
