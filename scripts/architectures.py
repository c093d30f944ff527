"""What works on which architecture -> docs/architectures.md, by a run of its tests (half a minute)

Between the marks of that page: which method works on which type of backbone, as the methods say;
and which promises hold on which architecture, as the tests find.
"""

import sys
from pathlib import Path

from transformers import CONFIG_MAPPING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eval.command import ending
from eval.markdown import table, with_part
from scripts.checks.contract import Recorder, properties, run_tests
from solo.adapters import METHODS, place_in
from solo.backbones import BACKBONES
from solo.cli.command import ROOT, one_line_errors, plain_parser
from solo.files import as_typed, write_text
from solo.options import check

PAGE = ROOT / "docs/architectures.md"
TESTS = {
    "The backbone by itself, against transformers' own model":
        "tests/solo/backbones/test_architectures.py",
    "Full fine-tuning, Solo, LoRA and LoR2C on it":
        "tests/solo/adapters/test_on_backbones.py",
    "The beam search": "tests/solo/decoding/test_architectures_decode.py",
}  # fmt: skip
CELLS = {"yes": "yes", "targets": "with targets", "no": "–"}
ALONE = "test_a_method_works_where_it_is_said_to"  # what the first table says, not a promise


def methods_table() -> str:
    """Markdown: a line for each method, a column for each type of backbone."""
    shapes = {name: CONFIG_MAPPING[name]() for name in BACKBONES}
    rows = [
        [method, *(CELLS[place_in(method, shape)] for shape in shapes.values())]
        for method in METHODS
    ]
    return "\n".join(table(["method", *shapes], rows)) + "\n"


def promises(title: str, file: str) -> tuple[str, int]:
    """(the table of one file of tests under its title, the exit status of its run)."""
    recorder = Recorder(lambda given: given.get("architecture"))
    status = run_tests([ROOT / file], recorder)
    results = {key: found for key, found in recorder.results.items() if key[1] != ALONE}
    names = dict.fromkeys(name for name, _ in results)
    return f"\n### {title}\n\n`{file}`\n\n{properties(results, names)}", status


def main() -> None:
    plain_parser(__doc__).parse_args()
    with one_line_errors():
        page = PAGE.read_text(encoding="utf-8")
        tables, statuses = zip(*(promises(*pair) for pair in TESTS.items()), strict=True)
        found = f"## Methods\n\n{methods_table()}\n## Promises\n{''.join(tables)}"
        write_text(PAGE, with_part(page, "python scripts/architectures.py", found))
        failed = any(statuses)
        ending([as_typed(PAGE)], *([] if failed else ["git diff docs"]))
        check(not failed, f"a promise does not hold; {as_typed(PAGE)} has it under FAILED")


if __name__ == "__main__":
    main()
