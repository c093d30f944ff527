"""The report's tables of scores: every line with what it is, and the runs behind it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..latex import escaped, tabular, tex_row
from ..metrics import ALL
from ..metrics.metric import Metric
from ..tables import render, study
from ..tables.groups import groups_of
from ..tables.lines import Line, Table, lines_of, metrics_of, rows_of
from ..tables.params import as_number
from ..tables.runs import HUB_NAMES, Run, is_stand_in
from ..tables.write import is_plain, is_study

STAND_IN = "stand-in, no reproduction"
KINDS = {  # of a line: the words of its badge
    "paper": "paper",
    "independent": "independent",
    "ours": "reproduction",
    "open": "no run yet",
    "other": "no reproduction",
    "stand-in": STAND_IN,
}
METHODS = {"none": "none", "full": "full fine-tuning", "lora": "LoRA", "solo": "Solo"}
SETS_OF_DATA = {"e2e": "E2E", "e2e_raw": "E2E", "e2e_clean": "E2E, cleaned", "webnlg": "WebNLG"}
OWN = "own"  # stands for the table of runs that stand in no table
HEAD = ("row", "kind", "method", "data", "backbone", "variant", "trainable", "lr", "seeds")


@dataclass(frozen=True)
class ReportScore:
    """text: as shown; value: times the metric's scale; low, high: its 95 % interval, if known."""

    text: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ReportLine:
    """A line of a table. kind: a key of KINDS; trainable: (as shown, as a number); runs: all that
    are behind it, of one configuration."""

    row: str
    label: str
    kind: str
    method: str
    data: str
    backbone: str
    variant: str = ""
    trainable: tuple[str, float | None] = ("", None)
    lr: float | None = None
    seeds: str = ""
    scores: dict[str, ReportScore] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def badge(self) -> str:
        stand_in = any(map(is_stand_in, self.marks))
        return STAND_IN if stand_in and self.kind == "other" else KINDS[self.kind]


@dataclass(frozen=True)
class ReportTable:
    """A table. note: Markdown's text in paper.yaml; stand_in: every line is of one; left_out: runs
    that could not be read."""

    name: str
    title: str
    note: str
    stand_in: bool
    metrics: list[Metric]
    lines: list[ReportLine]
    left_out: list[str] = field(default_factory=list)


def of_table(table: Table) -> ReportTable:
    """A table with its runs."""
    metrics = metrics_of(table)
    if is_plain(table):
        lines = _study_lines(table) if is_study(table) else _demo_lines(table)
    else:
        lines = [_line(table, line, metrics) for line in lines_of(table)]
    head = table.definition["title"], table.definition.get("note", "")
    stand_in = all(line.badge == STAND_IN for line in lines)
    return ReportTable(table.name, *head, stand_in, metrics, lines, table.left_out)


def of_runs(name: str, title: str, labelled: Sequence[tuple[Run, str]]) -> ReportTable:
    """A table of runs that stand in no other, each with its label; those that differ in their seed
    alone are one line."""
    groups: dict[str, list[Run]] = {}
    for run, _ in labelled:
        groups.setdefault(run.group, []).append(run)
    labels = {run.key: label for run, label in labelled}
    lines = [_line_of(OWN, OWN, labels[runs[0].key], runs) for runs in groups.values()]
    metrics = [metric for name, metric in ALL.items() if any(name in line.scores for line in lines)]
    stand_in = all(line.badge == STAND_IN for line in lines)
    return ReportTable(name, title, "", stand_in, metrics, lines)


def _line(table: Table, line: Line, metrics: list[Metric]) -> ReportLine:
    """A line of a table that somebody reported."""
    intervals, scores, row, runs = _intervals(line.runs), {}, line.row, line.runs
    settings = table.settings[row["row"]]
    data = runs[0].data_name if runs else settings["data"]["name"]
    for metric in metrics:
        if score := line.scores.get(metric.name):
            ends = intervals.get(metric.name, (None, None))
            text = render.cell(score, metric)
            scores[metric.name] = ReportScore(text, score.value * metric.scale, *ends)
    return ReportLine(
        row["row"], row["label"],
        "open" if line.source == "ours" and not runs else line.source,
        _method(settings["adapter"]), _data(table.name, data, line.marks),
        _backbone(runs) if runs else HUB_NAMES[settings["model"]["path"]], line.variant or "",
        _trainable(line.trainable), line.lr, ", ".join(map(str, line.seeds)), scores, line.marks,
        runs,
    )  # fmt: skip


def _demo_lines(table: Table) -> list[ReportLine]:
    return [
        _line_of(table.name, row["row"], row["label"], [run])
        for row, filling in rows_of(table)
        for run in filling
    ]


def _study_lines(table: Table) -> list[ReportLine]:
    groups = groups_of(table)
    return [_line_of(table.name, group.kind.row, group.label, group.runs) for group in groups]


def _line_of(table: str, row: str, label: str, runs: list[Run]) -> ReportLine:
    """A line of runs that differ in their seed alone."""
    intervals, scores = _intervals(runs), {}
    marks = list(dict.fromkeys(mark for run in runs for mark in run.marks))
    kind = "other" if marks or table == OWN else "ours"  # runs outside all tables fill no row
    kind = "stand-in" if any(map(is_stand_in, marks)) else kind
    for name in ALL:
        values = [run.scores.get(name) for run in runs]
        if None not in values:
            metric, mean = ALL[name], statistics.fmean(values)
            ends = intervals.get(name, (None, None))
            scores[name] = ReportScore(metric.shown_mean(values), mean * metric.scale, *ends)
    first = runs[0]
    return ReportLine(
        row, label, kind, _method(first.options["adapter"]), _data(table, first.data_name, marks),
        _backbone(runs), first.variant or "",
        _trainable(first.n_params), first.lr if first.n_params else None,
        ", ".join(str(run.seed) for run in runs), scores, marks, runs,
    )  # fmt: skip


def _intervals(runs: list[Run]) -> dict[str, tuple[float, float]]:
    """By metric, times its scale; none where a run has no statistics."""
    found = study.intervals(runs) if runs else {}
    return {
        name: (low * ALL[name].scale, high * ALL[name].scale) for name, (low, high) in found.items()
    }


def _method(adapter: Mapping) -> str:
    """In words, of the method's options."""
    return METHODS.get(adapter["name"], adapter["name"])


def _data(table: str, name: str, marks: list[str]) -> str:
    """In words, of a data set's name; marks: of the runs on it."""
    if table in ("demo", "demo-family"):
        return "generated"
    words = SETS_OF_DATA.get(name, name)
    other = any(mark.startswith("other test data") for mark in marks)
    return f"other data in the form of {words}" if other else words


def _backbone(runs: list[Run]) -> str:
    path = runs[0].options["hub"] or runs[0].backbone
    return HUB_NAMES.get(path, path.rstrip("/").rpartition("/")[2])


def _trainable(count: int | str | None) -> tuple[str, float | None]:
    """count: a number, or as the paper prints it."""
    if count is None:
        return "", None
    if isinstance(count, int):
        return f"{count:,}", float(count)
    try:
        return count, float(as_number(count)[0])
    except ValueError:
        return count, None


def cells(table: ReportTable) -> list[list[str]]:
    """The table as plain text, a row each, the head first; what is missing is empty."""
    rows = [[*HEAD, *(m.titled_head for m in table.metrics)]]
    for line in table.lines:
        lr = "" if line.lr is None else f"{line.lr:g}"
        row = [line.label, line.badge, line.method, line.data, line.backbone, line.variant]
        row += [line.trainable[0], lr, line.seeds]
        rows.append(row + [_with_interval(line.scores.get(m.name), m) for m in table.metrics])
    return rows


def _with_interval(score: ReportScore | None, metric: Metric) -> str:
    if score is None:
        return ""
    return score.text + (f" [{interval_of(score, metric)}]" if score.low is not None else "")


def interval_of(score: ReportScore, metric: Metric) -> str:
    """Its 95 % interval, as shown."""
    return f"{score.low:.{metric.digits}f}, {score.high:.{metric.digits}f}"


def as_latex(rows: Sequence[Sequence[str]], caption: str) -> str:
    r"""A table of cells; needs \usepackage{booktabs}."""
    start = [r"\begin{table}", r"\centering", rf"\caption{{{escaped(caption)}}}"]
    table = tabular("l" * len(rows[0]), rows[0], map(tex_row, rows[1:]))
    return "\n".join([*start, table, r"\end{table}"]) + "\n"
