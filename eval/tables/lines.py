"""A table's lines: what was reported, and what our runs gave, row by row.

Each row has a line for the paper, one for independent reproductions where there are any, and one
for ours: for each variant of a method that has two, and for each group of runs that differ in
their seed alone. Runs that count as no reproduction of the row (eval/tables/runs.py) come apart,
one by one, with the reasons. eval/tables/render.py writes the lines down.
"""

import statistics
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import yaml

from eval.tables.runs import METRICS, Run, differences
from eval.tables.settings import row_settings, same_rows

PERCENT = ("BLEU", "METEOR", "ROUGE_L")
REPORTED = Path(__file__).parent / "paper.yaml"


@dataclass(frozen=True)
class Score:
    """One score on the official scale. spread: the sample standard deviation over seeds, None for
    fewer than two; difference: ours minus the paper's; printed: a reported score as printed."""

    value: float
    spread: float | None = None
    difference: float | None = None
    printed: str | None = None


@dataclass(frozen=True)
class Line:
    """One line of a table; `scores` is empty where there is no run, `marks` where nothing counts
    against it. source: paper, independent, ours or other (apart)."""

    row: dict
    source: str
    variant: str | None = None
    trainable: int | str | None = None
    lr: float | None = None
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)


def load_reported() -> dict:
    """The reported figures of eval/paper.yaml."""
    return yaml.safe_load(REPORTED.read_text(encoding="utf-8"))


def known_tables(reported: dict) -> list[str]:
    """The names of the tables in eval/paper.yaml, in its order."""
    return [key for key, value in reported.items() if isinstance(value, dict) and "rows" in value]


def rows_of(table: dict, runs: list[Run]) -> list[tuple[dict, list[Run]]]:
    """Each row of a table with the runs made for it or for a row with the same settings.

    Their marks are complete: with what they do otherwise than this row.
    """
    same, filling = _same_rows(), []
    for row in table["rows"]:
        made = [run for run in runs if same[row["row"]] & set(run.rows)]
        marked = [replace(r, marks=r.marks + differences(r, row["row"])) for r in made]
        filling.append((row, marked))
    return filling


@cache
def _same_rows() -> dict[str, set[str]]:
    reported = load_reported()
    return same_rows([r["row"] for key in known_tables(reported) for r in reported[key]["rows"]])


def lines_of(table: dict, runs: list[Run], counts: dict) -> list[Line]:
    """All lines of a table, rows in their order, those that come apart after their row's others.

    counts: {row: {variant: trainable parameters}} for rows without a run.
    """
    lines = []
    for row, filling in rows_of(table, runs):
        for source in ("paper", "independent"):
            if source in row:
                trainable = row.get("reported") if source == "paper" else None
                scores = {name: _printed(value, name) for name, value in row[source].items()}
                lines.append(Line(row, source, trainable=trainable, scores=scores))
        for variant in _variants(row["row"]):
            count = counts.get(row["row"], {}).get(variant or "paper")
            mine = [run for run in filling if run.variant == variant and not run.marks]
            lines += _ours(row, variant, mine) or [Line(row, "ours", variant, count)]
        apart = sorted((r for r in filling if r.marks), key=lambda run: run.variant == "devcode")
        lines += [_line(row, "other", run.variant, [run], run.marks) for run in apart]
    return lines


def _variants(row: str) -> list[str | None]:
    return ["paper", "devcode"] if "variant" in row_settings(row)["adapter"] else [None]


def _ours(row: dict, variant: str | None, runs: list[Run]) -> list[Line]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return [_line(row, "ours", variant, group, []) for group in groups.values()]


def _line(row: dict, source: str, variant, runs: list[Run], marks: list[str]) -> Line:
    scores = {}
    runs = sorted(runs, key=lambda run: run.seed)
    for name in METRICS:
        values = [run.scores[name] for run in runs]
        mean, paper = statistics.fmean(values), row.get("paper", {}).get(name)
        spread = statistics.stdev(values) if len(values) > 1 else None
        counts = source == "ours" and paper is not None
        difference = mean - _printed(paper, name).value if counts else None
        scores[name] = Score(mean, spread, difference)
    seeds, first = [run.seed for run in runs], runs[0]
    return Line(row, source, variant, first.n_params, first.lr, seeds, scores, marks, runs)


def _printed(value, metric: str) -> Score:
    """A printed figure; of a range, the middle counts."""
    ends = value if isinstance(value, list) else [value]
    middle = statistics.fmean(map(float, ends))
    official = middle / 100 if metric in PERCENT else middle
    return Score(official, printed=" to ".join(map(str, ends)))
