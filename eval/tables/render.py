"""A table's lines as Markdown, LaTeX (booktabs) and CSV.

Rendered tables have some scores x 100, as the registry of metrics says; CSV keeps the scale of the
JSON files.
"""

import shlex

from solo.rows import csv_text

from .. import markdown as md
from ..latex import escaped, tabular, tex_row
from ..metrics.metric import Metric
from .lines import Line, Score, Table, metrics_of, plain_rows
from .runs import Run

MISSING = "–"
HEAD = ("row", "source", "trainable", "lr", "seeds")
APART = "Not counted as reproductions: stand-in backbones, partial runs, other settings"
LEGEND = """\
{percent} x 100. ours: mean ± standard deviation over the seeds (one seed: its score
alone), in parentheses ours minus the paper's. trainable: the paper's count in its line, the exact
one in ours. A dash: no run yet.
"""


def percent(metrics: list[Metric]) -> str:
    """The metrics that tables show x 100, in words."""
    *titles, last = (metric.title for metric in metrics if metric.scale == 100)
    return f"{', '.join(titles)} and {last}" if titles else last


def left_out_section(table: Table) -> list[str]:
    """The run directories that could not be read, if any, with the reasons."""
    lines = [f"- {line}" for line in table.left_out]
    return ["", "## Run directories left out", "", *lines] if lines else []


def markdown(table: Table, lines: list[Line]) -> str:
    """The table, its notes, the runs behind it, the runs that come apart, the directories left
    out."""
    metrics = metrics_of(table)
    names = [metric.head for metric in metrics]
    text = [f"# {table.definition['title']}", "", LEGEND.format(percent=percent(metrics))]
    right = "r" * len(names)
    text += [*_note(table), *md.table([*HEAD, *names], _body(lines, metrics), f"llrll{right}")]
    noted = [line.row for line in lines if "note" in line.row]
    notes = dict.fromkeys(f"- {row['label']}: {row['note']}." for row in noted)
    text += ["", *notes] if notes else []
    ours = [line for line in lines if line.source == "ours" and line.runs]
    if ours:
        text += ["", "## Runs behind these numbers", ""]
        text += [f"- {_name(line)}: " + "; ".join(map(_run, line.runs)) for line in ours]
    apart = [line for line in lines if line.source == "other"]
    if apart:
        text += ["", f"## {APART}", ""]
        head = ["row", "what it is", "lr", "seed", "trainable", *names, "run"]
        text += md.table(head, [_apart(line, metrics) for line in apart], f"lllll{right}l")
    return "\n".join(text + left_out_section(table)) + "\n"


def latex(table: Table, lines: list[Line]) -> str:
    r"""The table without the runs that come apart; needs \usepackage{booktabs}, a UTF-8 source."""
    metrics, name = metrics_of(table), table.name
    apart = sum(line.source == "other" for line in lines)
    text = ["% made by scripts/tables.py; needs the package booktabs"]
    if apart:
        text += [f"% {apart} marked runs (stand-in, partial, other settings) are in {name}.md only"]
    text += [r"\begin{table}", r"\centering", rf"\caption{{{escaped(table.definition['title'])}}}"]
    body = []
    for cells in _body(lines, metrics):
        body += [r"\addlinespace"] if body and cells[0] else []
        body += [tex_row(cells)]
    head = [*HEAD, *(metric.head for metric in metrics)]
    text += [rf"\label{{tab:{name}}}", tabular("llrll" + "r" * len(metrics), head, body)]
    return "\n".join([*text, r"\end{table}"]) + "\n"


def as_csv(table: Table, lines: list[Line]) -> str:
    """A line per row and source, official scale; an unknown value is empty, a range its middle. The
    names of runs are divided by spaces; one that has some itself is quoted, as for a shell."""
    names = [metric.name for metric in metrics_of(table)]
    header = ["row", "label", "source", "variant", "marks", "seeds", "lr", "trainable", *names]
    header += [f"{name}_sd" for name in names] + [f"{name}_minus_paper" for name in names]
    rows = []
    for line in lines:
        scores = [line.scores.get(name) for name in names]
        cells = [line.row["row"], line.row["label"], line.source, line.variant]
        cells += ["; ".join(line.marks), " ".join(map(str, line.seeds)), line.lr, line.trainable]
        for what in ("value", "spread", "difference"):
            cells += [_four(getattr(score, what, None)) for score in scores]
        rows.append([*cells, shlex.join(run.name for run in line.runs)])
    return csv_text([[*header, "runs"], *rows])


def plain_markdown(table: Table) -> str:
    """One line per run, for a table that nobody reported (the demo); those with other settings than
    their row come apart."""
    metrics = metrics_of(table)
    text = [f"# {table.definition['title']}", "", f"{percent(metrics)} x 100.", "", *_note(table)]
    own, others = [], []
    for row, filling, apart in plain_rows(table):
        own += [[*_plain(row, run), *_scores(run, metrics)] for run in filling]
        others += [
            [*_plain(row, run), "; ".join(run.marks), *_scores(run, metrics)] for run in apart
        ]
        if not filling:
            own.append([row["label"], *[MISSING] * (3 + len(metrics))])
    heads, names = ["row", "seed", "trainable", "lr"], [metric.head for metric in metrics]
    text += md.table([*heads, *names], own)
    if others:
        text += ["", "## Runs with other settings than their row", ""]
        text += md.table([*heads, "other settings", *names], others)
    return "\n".join(text + left_out_section(table)) + "\n"


def _plain(row: dict, run: Run) -> list[str]:
    label = row["label"] if run.variant in (None, "paper") else f"{row['label']}, devcode"
    rate = f"{run.lr:g}" if run.n_params else MISSING
    return [label, str(run.seed), f"{run.n_params:,}", rate]


def _scores(run: Run, metrics: list[Metric]) -> list[str]:
    return [shown(run.scores.get(metric.name), metric) for metric in metrics]


def plain_csv(table: Table) -> str:
    """Columns row, run, seed, lr, trainable and the scores on the official scale; where runs come
    apart, also what they do otherwise."""
    names, rows, marked = [metric.name for metric in metrics_of(table)], [], False
    for row, filling, apart in plain_rows(table):
        for run in [*filling, *apart]:
            marks = "; ".join(run.marks) if run in apart else ""
            scores = (_four(run.scores.get(name)) for name in names)
            rate = f"{run.lr:g}" if run.n_params else ""
            rows.append([row["label"], run.name, run.seed, rate, run.n_params, *scores, marks])
        marked |= bool(apart)
    head = ["row", "run", "seed", "lr", "trainable", *names, "other settings"]
    return csv_text([head, *rows] if marked else [row[:-1] for row in [head, *rows]])


def shown(score: float | None, metric: Metric) -> str:
    """A score as tables show it, a dash for none."""
    return MISSING if score is None else metric.shown(score)


def _note(table: Table) -> list[str]:
    return [f"{table.definition['note']}.", ""] if "note" in table.definition else []


def _body(lines: list[Line], metrics: list[Metric]) -> list[list[str]]:
    """The cells of the lines that count; a row's label stands in its first line only."""
    body, before = [], None
    for line in lines:
        if line.source == "other":
            continue
        label = "" if line.row is before else line.row["label"]
        before = line.row
        source = f"{line.source}, variant={line.variant}" if line.variant else line.source
        reported = line.source in ("paper", "independent")
        trainable = f"{line.trainable:,}" if isinstance(line.trainable, int) else line.trainable
        lr, seeds = f"{line.lr:g}" if line.lr else MISSING, ", ".join(map(str, line.seeds))
        middle = ["", ""] if reported else [lr, seeds or MISSING]
        scores = [cell(line.scores.get(metric.name), metric) for metric in metrics]
        empty = "" if line.source == "independent" else MISSING
        body.append([label, source, trainable or empty, *middle, *scores])
    return body


def _apart(line: Line, metrics: list[Metric]) -> list[str]:
    [run] = line.runs
    head = [_name(line), "; ".join(line.marks), f"{run.lr:g}", str(run.seed), f"{run.n_params:,}"]
    return [*head, *(cell(line.scores.get(m.name), m) for m in metrics), run.name]


def _name(line: Line) -> str:
    return line.row["label"] + (f", variant={line.variant}" if line.variant else "")


def _run(run: Run) -> str:
    return f"{run.name} (seed {run.seed})"


def cell(score: Score | None, metric: Metric) -> str:
    """A score of a line, as printed or with its spread and its difference to the paper's."""
    if score is None:
        return MISSING
    text = score.printed or metric.shown(score.value)
    if score.spread is not None:
        text += f" ± {metric.shown(score.spread)}"
    if score.difference is not None:
        text += f" ({metric.shown(score.difference, '+')})"
    return text


def _four(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
