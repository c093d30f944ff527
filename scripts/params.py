"""Write the parameter audit, results/tables/params.md and .csv: scripts/params.py

Counts in closed form, from the experiment files alone: no weights are needed.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.files import replace_text
from eval.tables.lines import load_reported
from eval.tables.params import Counts, audit_csv, audit_markdown
from eval.tables.settings import row_settings
from solo.adapters import make_config
from solo.backbones.shapes import SHAPES
from solo.cli.command import GPT2_TABLES, PAPER_TABLES, RESULTS, one_line_errors, plain_parser

NAMES = {"openai-community/gpt2": "GPT-2 S", "openai-community/gpt2-medium": "GPT-2 M"}


def count_row(table: str, row: dict) -> Counts:
    """All counts of one row of eval/paper.yaml."""
    settings = row_settings(row["row"])
    model, adapter = settings["model"]["path"], settings["adapter"]
    method, config = make_config(adapter)
    shape = SHAPES[model]
    exact = count = method.n_params(shape, config)
    more = {}
    if adapter["name"] == "solo":
        exact = method.n_params(shape, replace(config, homotopy=False))  # without the lambdas
        more = solo_counts(method, config, model, exact, row.get("s"))
    comment = row.get("note", "")
    printed = row["reported"] if table in PAPER_TABLES else None  # others repeat a row of them
    return Counts(table, row["row"], printed, exact, count, comment=comment, **more)


def solo_counts(method, config, model: str, exact: int, s: float | None) -> dict:
    """The development code's count, and those of other readings that may explain a misfit."""
    plain, devcode = replace(config, homotopy=False), replace(config, variant="devcode")
    vectors = method.n_params(SHAPES[model], replace(plain, trainable_matrices=False))
    elsewhere = {"encoder and decoder alone": exact - vectors}
    for path, shape in SHAPES.items():
        if path != model:
            elsewhere[f"{NAMES[path]}'s count"] = method.n_params(shape, plain)
            elsewhere[f"{NAMES[path]}'s devcode count"] = method.n_params(shape, devcode)
    fractions = {} if s is None else {f"{s:.0%} masked": s, f"{s:.0%} kept": round(1 - s, 6)}
    readings = {
        name: method.n_params(SHAPES[model], replace(plain, sparsity=masked))
        for name, masked in fractions.items()
    }
    count = method.n_params(SHAPES[model], devcode)
    return {"devcode": count, "elsewhere": elsewhere, "readings": readings}


def audit() -> list[Counts]:
    """The counts of every row of the tables on GPT-2 S and M."""
    reported = load_reported()
    return [count_row(table, row) for table in GPT2_TABLES for row in reported[table]["rows"]]


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "tables", help="where to")
    args = parser.parse_args()
    with one_line_errors():
        rows = audit()
        replace_text(args.out / "params.csv", audit_csv(rows))
        replace_text(args.out / "params.md", audit_markdown(rows))
        print(audit_markdown(rows))


if __name__ == "__main__":
    main()
