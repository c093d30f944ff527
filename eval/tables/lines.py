"""A table and its lines: what was reported, and what our runs gave, row by row.

Each row has a line for the paper, one for independent reproductions where there are any, and one
for ours: for each variant of a method that has two, and for each group of runs that differ in
their seed alone. Runs that count as no reproduction of the row (eval/tables/runs.py) come apart,
one by one, with the reasons. eval/tables/render.py writes the lines down.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from solo.files import LOADER

from ..metrics import ALL, SETS
from ..metrics.metric import Metric
from .runs import Doubt, Run, differences, read_runs

REPORTED = Path(__file__).parent / "paper.yaml"
FAMILY = ("family", "demo-family")  # the tables with a row for each method


@dataclass(frozen=True)
class Table:
    """All that a table is made from.

    definition: its title, rows and notes, of paper.yaml; settings: {row: {"model": {...},
    "data": ..., "adapter": ..., "train": ..., "decode": ...}} of its rows, and of other rows that
    runs were made for; counts: {row: {"paper": trainable parameters, "devcode": the same}} for
    rows without a run; runs: all that were found; left_out: a line for each directory left out.
    """

    name: str
    definition: dict
    settings: dict[str, dict]
    counts: dict[str, dict[str, int]]
    runs: list[Run]
    left_out: list[str]


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
    """The reported figures and the tables' rows, eval/tables/paper.yaml."""
    return yaml.load(REPORTED.read_text(encoding="utf-8"), LOADER)  # it has aliases


def table_names(reported: dict) -> list[str]:
    """The names of the tables in paper.yaml, in its order."""
    return [key for key, value in reported.items() if isinstance(value, dict) and "rows" in value]


def rows_named(reported: dict, name: str) -> list[str]:
    """The rows of a table, e.g. table2/solo_s_r64. Raises ValueError for an unknown table."""
    if name not in table_names(reported):
        raise ValueError(f"unknown table {name!r}; known: {', '.join(table_names(reported))}")
    return [row["row"] for row in reported[name]["rows"]]


def with_family_rows(reported: dict, labels: dict[str, str]) -> dict:
    """The same with a row {row: label} for each that the tables of the family lack, as the last."""
    extended = dict(reported)
    for name in FAMILY:
        present = set(rows_named(reported, name))
        new = [{"row": row, "label": label} for row, label in labels.items() if row not in present]
        extended[name] = reported[name] | {"rows": [*reported[name]["rows"], *new]}
    return extended


def read_table(
    reported: dict,
    name: str,
    runs_dir: Path,
    settings: dict,
    counts: dict,
    doubt: Doubt = lambda *parts: None,
) -> Table:
    """The table with the runs in a directory; doubt: see `eval.tables.runs.read_runs`.

    Raises ValueError for an unknown table, for a row without settings, and for two runs that
    should be one and are not (eval/tables/runs.py).
    """
    for row in rows_named(reported, name):
        if row not in settings:
            raise ValueError(f"no settings of row {row!r} of {name}; pass those of all its rows")
    return Table(name, reported[name], settings, counts, *read_runs(runs_dir, reported, doubt))


def rows_of(table: Table) -> list[tuple[dict, list[Run]]]:
    """Each row of a table with the runs made for it or for a row with the same settings.

    Their marks are complete: with what they do otherwise than this row.
    """
    filling = []
    for row in table.definition["rows"]:
        settings = table.settings[row["row"]]
        same = {name for name, of_other in table.settings.items() if of_other == settings}
        made = [run for run in table.runs if same & set(run.rows)]
        marked = [replace(run, marks=run.marks + differences(run, settings)) for run in made]
        filling.append((row, marked))
    return filling


def plain_rows(table: Table) -> list[tuple[dict, list[Run], list[Run]]]:
    """(row, its runs, those that come apart) of a table that nobody reported.

    The marks of those that come apart say what they do otherwise than their row: another rate or
    another number of steps, too; or another backbone or data than most runs here have, since such
    rows name none by its content. Of a study none does; its lines say what they are.
    """
    rows, filled = [], rows_of(table)
    usual = _usual([run for _, filling in filled for run in filling])
    for row, filling in filled:
        other = {}
        if "against" not in table.definition:
            settings = table.settings[row["row"]]
            other = {
                run.key: differences(run, settings, ["adapter.variant"])
                + [f"other {word} than most" for word, of in _content(run).items()
                   if of != usual[word]]
                for run in filling
            }  # fmt: skip
        apart = [replace(run, marks=other[run.key]) for run in filling if other.get(run.key)]
        rows.append((row, [run for run in filling if not other.get(run.key)], apart))
    return rows


def _content(run: Run) -> dict[str, object]:
    """What a run is of, by content."""
    return {"backbone": run.weights, "data": run.options["data"]}


def _usual(runs: Sequence[Run]) -> dict[str, object]:
    """What most runs are of; of as many the first."""
    contents = [_content(run) for run in runs]
    return max(contents, key=contents.count, default={})


def metrics_of(table: Table) -> list[Metric]:
    """The metrics that have a column in a table, of the set that its definition names."""
    runs = [run for _, filling in rows_of(table) for run in filling]
    return [
        metric
        for name, metric in SETS[table.definition.get("metrics", "e2e")].items()
        if not metric.optional or any(name in run.scores for run in runs)
    ]


def lines_of(table: Table) -> list[Line]:
    """All lines of a table, rows in their order, those that come apart after their row's others."""
    lines = []
    for row, filling in rows_of(table):
        for source in ("paper", "independent"):
            if source in row:
                trainable = row.get("reported") if source == "paper" else None
                scores = {name: _printed(value, name) for name, value in row[source].items()}
                lines.append(Line(row, source, trainable=trainable, scores=scores))
        several = "variant" in table.settings[row["row"]]["adapter"]
        for variant in ("paper", "devcode") if several else (None,):
            count = table.counts.get(row["row"], {}).get(variant or "paper")
            unmarked = [run for run in filling if run.variant == variant and not run.marks]
            lines += _ours(row, variant, unmarked) or [Line(row, "ours", variant, count)]
        apart = sorted((r for r in filling if r.marks), key=lambda run: run.variant == "devcode")
        lines += [_line(row, "other", run.variant, [run], run.marks) for run in apart]
    return lines


def _ours(row: dict, variant: str | None, runs: list[Run]) -> list[Line]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return [_line(row, "ours", variant, group, []) for group in groups.values()]


def _line(row: dict, source: str, variant, runs: list[Run], marks: list[str]) -> Line:
    scores = {}
    runs = sorted(runs, key=lambda run: run.seed)
    for name in ALL:
        values = [run.scores[name] for run in runs if name in run.scores]
        if len(values) < len(runs):
            continue  # a mean over some of the seeds would stand beside means over all
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
    return Score(middle / ALL[metric].scale, printed=" to ".join(map(str, ends)))
