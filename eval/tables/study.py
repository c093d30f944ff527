"""The table of a study on a stand-in backbone: scores with intervals, each row against one of them.

Intervals are bootstrap percentiles (95 %) over the test MRs; of several seeds, of their mean.
Everything comes from run directories; statistics.json is there once a run was scored.
"""

import statistics
from collections import defaultdict

import numpy as np

from eval import compare
from eval.metrics.metric import Metric
from eval.metrics.statistics import scores
from eval.records import read_log
from eval.tables.lines import Table, metrics_of, rows_of
from eval.tables.render import MISSING, left_out_section, percent, row_of
from eval.tables.runs import Run

SAMPLES, SEED = 2000, 1
NOTE = """\
Every number is of a stand-in backbone: {backbones}. None is a reproduction.
{percent} x 100; in brackets a 95 % interval, bootstrap over the test MRs; several
seeds: their mean ± standard deviation, the interval that of the mean.
"""


def groups_of(table: Table) -> dict[str, list[Run]]:
    """{label: runs that differ in their seed alone}, in the table's order, paper before devcode."""
    groups = defaultdict(list)
    for row, filling in rows_of(table):
        filling = sorted(filling, key=lambda run: (run.variant == "devcode", run.seed))
        several = len({(run.variant, run.group) for run in filling}) > len(
            {run.variant for run in filling}
        )
        for run in filling:
            label = row["label"] + (", devcode" if run.variant == "devcode" else "")
            groups[label + (f", {_steps(run)} steps, lr {run.lr:g}" if several else "")].append(run)
    return dict(groups)


def markdown(table: Table) -> str:
    """The whole page: scores, differences with p, training and lambdas."""
    groups, metrics = groups_of(table), metrics_of(table)
    names = sorted({run.marks[0] for group in groups.values() for run in group if run.marks})
    note = NOTE.format(backbones="; ".join(names) or "no run yet", percent=percent(metrics))
    text = [f"# {table.definition['title']}", "", note]
    text += [row_of(["stand-in", "trainable", "lr", "seeds", *(m.name for m in metrics)])]
    text += ["|---|---:|---|---|" + "---:|" * len(metrics)]
    for label, group in groups.items():
        size = group[0].n_params
        head = [label, f"{size:,}", f"{group[0].lr:g}" if size else MISSING]
        head.append(", ".join(str(run.seed) for run in group))
        intervals = _intervals(group)
        text.append(row_of([*head, *(_score(group, metric, intervals) for metric in metrics)]))
    text += [*_differences(table, groups, metrics), *_trainings(groups)]
    return "\n".join(text + left_out_section(table)) + "\n"


def _steps(run: Run) -> str:
    return f"{read_log(run.directory)[-1]['step']:,}"


def _score(group: list[Run], metric: Metric, intervals: dict) -> str:
    values = [run.scores.get(metric.name) for run in group]
    if None in values:
        return MISSING
    text = metric.shown(statistics.fmean(values))
    text += f" ± {metric.shown(statistics.stdev(values))}" if len(values) > 1 else ""
    if metric.name in intervals:
        low, high = (metric.shown(value) for value in intervals[metric.name])
        text += f" [{low}, {high}]"
    return text


def _intervals(group: list[Run]) -> dict[str, tuple[float, float]]:
    """95 % interval of the mean score over the group's seeds, by metric; empty if not scored here.

    The seeds meet the same resampled MRs.
    """
    sides = [compare.kept(run.decoding) for run in group]
    if None in sides or any(side.sources != sides[0].sources for side in sides):
        return {}
    size = len(sides[0].sources)
    random = np.random.default_rng(SEED)
    weights = random.multinomial(size, np.full(size, 1 / size), size=SAMPLES)
    drawn = [scores(side.statistics, weights) for side in sides]
    common = [name for name in drawn[0] if all(name in of_seed for of_seed in drawn)]
    means = {name: np.mean([of_seed[name] for of_seed in drawn], 0) for name in common}
    return {name: tuple(np.percentile(means[name], [2.5, 97.5])) for name in common}


def _differences(table: Table, groups: dict[str, list[Run]], metrics: list[Metric]) -> list[str]:
    """Paired bootstrap of every row against one, with the same seed and weights."""
    against = table.definition["against"]
    labels = [row["label"] for row in table.definition["rows"] if row["row"] == against]
    baseline = {(r.seed, r.weights): r for label in labels for r in groups.get(label, [])}
    lines = []
    for label, group in groups.items():
        for run in group if label not in labels else []:
            other = baseline.get((run.seed, run.weights))
            sides = [compare.kept(r.decoding) for r in (run, other) if r]
            if len(sides) < 2 or None in sides:
                continue
            differences = compare.compare(*sides)
            cells = [_difference(differences.get(metric.name), metric) for metric in metrics]
            lines.append(row_of([label, str(run.seed), *cells]))
    if not lines:
        return []
    head = ["stand-in", "seed", *(metric.name for metric in metrics)]
    intro = "The difference to the same seed; 95 % interval and two-sided p of a paired bootstrap."
    rule = "|---|---|" + "---:|" * len(metrics)
    return ["", f"## Against {labels[0]}", "", intro, "", row_of(head), rule, *lines]


def _difference(difference: compare.Difference | None, metric: Metric) -> str:
    if difference is None:
        return MISSING
    low, high = (metric.shown(end, "+") for end in (difference.low, difference.high))
    middle = metric.shown(difference.a - difference.b, "+")
    return f"{middle} [{low}, {high}] p={difference.p:.4f}"


def _trainings(groups: dict[str, list[Run]]) -> list[str]:
    """Steps, last losses and last lambdas of every run."""
    lines = []
    for label, group in groups.items():
        for run in group:
            log = read_log(run.directory)
            last = {key: value for entry in log for key, value in entry.items()}
            lambdas = [v for k, v in last.items() if k.startswith("lambda/")]
            losses = [f"{last[k]:.3f}" if k in last else MISSING for k in ("loss", "valid_loss")]
            ends = f"{min(lambdas):.4f} to {max(lambdas):.4f}" if lambdas else MISSING
            name = run.name
            lines.append(row_of([label, str(run.seed), _steps(run), *losses, ends, name]))
    head = ["stand-in", "seed", "steps", "training loss", "validation loss", "lambda at the end"]
    return ["", "## Training", "", row_of([*head, "run"]), "|---" * 7 + "|", *lines]
