"""The parameter audit: the counts that the paper prints beside the counts that its formula gives.

A printed count ("0.12M", "78k") fits a number that rounds to it, or that gives it when cut off
after its last digit: the paper does both.
"""

import re
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from solo.rows import csv_text

from ..markdown import table

UNITS = {"k": 1_000, "M": 1_000_000}
COLUMNS = ("table", "row", "reported", "exact", "with_lambdas", "devcode", "note")
INTRO = """\
# Parameter audit: the paper's counts against its own formula

`reported` is what the paper prints. `exact` is its formula (appendix B), without the lambdas:
`2 * round((1-s) * d * r) + T * (r + d)`, s the masked fraction that the row's experiment file sets,
T the number of connections; `with_lambdas` adds one per connection, as trained here. `devcode` is
the count of `adapter.variant=devcode`: `2*d*r + r + d + T*(r + d + 1)`, whose mask removes nothing.
LoRA and full fine-tuning have neither lambdas nor variants. The note says how the printed count
comes about, with s as the paper's label has it; a misfit has the count of every reading.
"""
OUTSIDE = """## Rows outside the paper's tables

By the closed forms of `docs/methods.md`; `with_lambdas` is what is trained.
"""


@dataclass(frozen=True)
class Counts:
    """Trainable parameters of one row, and of other readings of it that might explain a misfit.

    reported: as printed, None for a row outside the paper's tables; exact: without lambdas;
    devcode: None where the method has no variants; readings: {"60% masked": count, "60% kept":
    count}, empty where the row has no s; elsewhere: {"GPT-2 M": count, ...}.
    """

    table: str
    row: str
    reported: str | None
    exact: int
    with_lambdas: int
    devcode: int | None = None
    readings: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)
    comment: str = ""


def as_number(printed: str) -> tuple[Decimal, Decimal]:
    """(value, worth of the last digit) of a printed count: "0.12M" is 120,000 and 10,000.

    Raises ValueError for anything else than digits with k or M.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kM])", printed)
    if not match:
        raise ValueError(f"{printed!r} is no printed count; known are forms like 0.12M and 78k")
    digits, unit = Decimal(match[1]), UNITS[match[2]]
    return digits * unit, Decimal(1).scaleb(digits.as_tuple().exponent) * unit


def fits(printed: str, count: int) -> str | None:
    """Whether `count` can be printed so: 'rounded', 'cut off', or None where it cannot."""
    value, step = as_number(printed)
    for how, rounding in (("rounded", ROUND_HALF_UP), ("cut off", ROUND_DOWN)):
        if (Decimal(count) / step).quantize(Decimal(1), rounding) * step == value:
            return how
    return None


def fitting(printed: str, readings: dict[str, int]) -> list[str]:
    """A phrase for each reading whose count can be printed so."""
    how_fitting = {name: fits(printed, count) for name, count in readings.items()}
    ending = {"rounded": "", "cut off": ", cut off"}
    return [f"fits {name}{ending[how]}" for name, how in how_fitting.items() if how]


def note(counts: Counts) -> str:
    """How a row's reported count comes about: which reading of s fits, or that none does."""
    if counts.reported is None:
        return ""
    readings = counts.readings or {"the formula": counts.exact}
    phrases = fitting(counts.reported, readings)
    if phrases:
        return "; ".join(phrases)
    start = "fits neither" if len(readings) > 1 else "does not fit"
    given = ", ".join(f"{name} gives {count:,}" for name, count in readings.items())
    near = fitting(counts.reported, {f"{k} ({n:,})": n for k, n in counts.elsewhere.items()})
    return "; ".join(filter(None, [f"{start}: {given}", *near, counts.comment]))


def audit_markdown(rows: list[Counts]) -> str:
    """The audit as a table, and how many printed counts fit."""
    paper = [row for row in rows if row.reported is not None]
    cells = [[row.table, row.row, row.reported, *_numbers(row), note(row)] for row in paper]
    lines = [INTRO, *table(COLUMNS, cells, "lllrrrl")]
    good = [row for row in paper if fitting(row.reported, row.readings or {"": row.exact})]
    lines += ["", f"{len(good)} of {len(paper)} printed counts fit a reading of the formula."]
    lines += ["Where else the paper disagrees with itself: `results/inconsistencies.md`."]
    outside = [row for row in rows if row.reported is None]
    if outside:
        names = [name for name in COLUMNS if name not in ("reported", "note")]
        cells = [[row.table, row.row, *_numbers(row)] for row in outside]
        lines += ["", OUTSIDE, *table(names, cells, "llrrr")]
    return "\n".join(lines) + "\n"


def _numbers(row: Counts) -> list[str]:
    counts = (row.exact, row.with_lambdas, row.devcode)
    return ["–" if count is None else f"{count:,}" for count in counts]


def audit_csv(rows: list[Counts]) -> str:
    """The same as CSV, counts as plain integers."""
    return csv_text(
        [COLUMNS]
        + [
            (row.table, row.row, row.reported, row.exact, row.with_lambdas, row.devcode, note(row))
            for row in rows
        ]
    )
