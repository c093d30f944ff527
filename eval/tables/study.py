"""The table of a study on a stand-in backbone: scores with intervals, differences, claims.

Intervals are bootstrap percentiles (95 %) over the test MRs; of several seeds, of their mean.
Everything comes from run directories; statistics.json is there once a run was scored.
"""

import statistics
from collections.abc import Sequence

import numpy as np

from .. import bootstrap, records
from .. import markdown as md
from ..claims import Difference, Spread, compare, holm
from ..formats import read_hypotheses
from ..metrics import ALL
from ..metrics.metric import Metric
from ..metrics.slot_errors import slots_of
from ..records import lambdas_of, last_values
from .groups import Group, claimed, groups_of, seed_spreads, sides_of, why_incomparable
from .lines import Table, metrics_of
from .render import MISSING, left_out_section, percent
from .runs import Run, is_stand_in

SAMPLES, SEED = 2000, 1
NOTE = """\
{backbones}
{percent} x 100; in brackets a 95 % interval, bootstrap over the test MRs; several
seeds: their mean ± standard deviation, the interval that of the mean. Names: the share of outputs
with the MR's name to the letter, of all seeds.{edge}
"""
EDGE = " (edge)"
EDGE_NOTE = " (edge): the best rate of its sweep was the lowest or\nthe highest tried."
CLAIMS_NOTE = """\
Differences of mean scores, over the seeds that both sides were run with: a seed is the same order
of the data for all. {seeds}
p is two-sided, with Holm's correction for all the questions of the study. Visible: the smallest
true difference that such runs would show in four of five cases, at 5 % without that correction.
{errors}Others: metrics whose intervals leave out 0; + where the first is better, - where
it is worse.
"""
ERRORS_NOTE = "SER: the difference in slot errors; more of them is worse.\n"


def markdown(table: Table) -> str:
    """The whole page: scores, differences with p, training and lambdas."""
    groups, metrics = groups_of(table), metrics_of(table)
    edges = {group.kind for group in groups} & set(table.definition.get("at_edge", ()))
    edge = EDGE_NOTE if edges else ""
    note = NOTE.format(backbones=backbones_of(groups), percent=percent(metrics), edge=edge)
    text = [f"# {table.definition['title']}", "", note]
    rows = []
    for group in groups:
        runs = group.runs
        size = runs[0].n_params
        edge = EDGE * (group.kind in table.definition.get("at_edge", ()))
        head = [group.label, f"{size:,}", f"{runs[0].lr:g}{edge}" if size else MISSING]
        head.append(", ".join(str(run.seed) for run in runs))
        found = intervals(runs)
        cells = [_score(runs, metric, found) for metric in metrics]
        rows.append([*head, *cells, names_right(runs)])
    heads = [head_of(groups), "trainable", "lr", "seeds", *(m.head for m in metrics), "names"]
    text += md.table(heads, rows, "lrll" + "r" * (len(metrics) + 1))
    text += [
        *_claims(table, groups, metrics[0]),
        *_differences(table, groups, metrics),
        *_trainings(groups),
    ]
    return "\n".join(text + left_out_section(table)) + "\n"


def head_of(groups: Sequence[Group]) -> str:
    """What a study's lines are of, at the head of their column."""
    marks = [mark for group in groups for run in group.runs for mark in run.marks]
    return "method (stand-in)" if any(map(is_stand_in, marks)) else "method"


def backbones_of(groups: Sequence[Group]) -> str:
    """Of what the numbers are: of stand-ins, of the hub's weights, or of both."""
    runs = [run for group in groups for run in group.runs]
    if not runs:
        return "No run yet."
    of_stand_in = {run.key: [*filter(is_stand_in, run.marks)] for run in runs}
    stand_ins = "; ".join(sorted({mark for marks in of_stand_in.values() for mark in marks}))
    paths = ", ".join(sorted({run.backbone for run in runs if not of_stand_in[run.key]}))
    others = sorted({m for run in runs for m in run.marks if not is_stand_in(m)})
    if not paths:
        return f"Every number is of a stand-in backbone: {stand_ins}. None is a reproduction."
    told = f" Otherwise than in the paper: {'; '.join(others)}." if others else ""
    if stand_ins:
        return f"Numbers of {paths} stand beside those of a stand-in backbone: {stand_ins}.{told}"
    return f"Every number is of {paths}, each method at the rate that a sweep chose.{told}"


def names_right(runs: list[Run]) -> str:
    """The share of MRs with a name whose output has it, in percent."""
    right = []
    for run in runs:
        read = read_hypotheses(records.predictions_of(run.decoding), [])
        for source, text in zip(read.sources, read.texts, strict=True):
            names = [" : ".join(slot[1:]) for slot in slots_of(source) if slot[0] == "name"]
            right += [name in text for name in names[:1]]
    return f"{100 * statistics.fmean(right):.1f} %" if right else MISSING


def _score(group: list[Run], metric: Metric, intervals: dict) -> str:
    values = [run.scores.get(metric.name) for run in group]
    if None in values:
        return MISSING
    text = metric.shown_mean(values)
    if metric.name in intervals:
        low, high = (metric.shown(value) for value in intervals[metric.name])
        text += f" [{low}, {high}]"
    return text


def intervals(group: list[Run]) -> dict[str, tuple[float, float]]:
    """95 % interval of the mean score over the group's seeds, by metric; empty if not scored here.

    The seeds meet the same resampled MRs.
    """
    sides = [run.outputs for run in group]
    if None in sides or any(side.sources != sides[0].sources for side in sides):
        return {}
    drawn = [bootstrap.drawn_scores(side, SAMPLES, SEED) for side in sides]
    common = [name for name in drawn[0] if all(name in of_seed for of_seed in drawn)]
    means = {name: np.mean([of_seed[name] for of_seed in drawn], 0) for name in common}
    return {name: tuple(np.nanpercentile(means[name], [2.5, 97.5])) for name in common}


def _differences(table: Table, groups: list[Group], metrics: list[Metric]) -> list[str]:
    """Paired bootstrap of every row against one, with the same seed, weights and epochs."""
    against = table.definition["against"]
    [name] = {row["label"] for row in table.definition["rows"] if row["row"] == against}
    first, lines = {}, []
    for group in groups:  # of one kind the first, as in the claims
        if group.kind.row == against and not group.kind.others:
            first.setdefault((group.runs[0].weights, group.kind.epochs), group)
    baseline = {(run.seed, *key): run for key, group in first.items() for run in group.runs}
    for group in groups:
        for run in group.runs if group.kind.row != against else []:
            other = baseline.get((run.seed, run.weights, group.kind.epochs))
            if other is None or why_incomparable(run, other):
                continue
            differences = compare([run.outputs], [other.outputs])
            cells = [with_p(differences.get(metric.name), metric) for metric in metrics]
            lines.append([group.label, str(run.seed), *cells])
    if not lines:
        return []
    head = [head_of(groups), "seed", *(metric.head for metric in metrics)]
    intro = (
        "The difference to the same seed; 95 % interval and two-sided p of a paired bootstrap\n"
        "over the test MRs of two runs alone, without a correction. Another seed moves it further\n"
        "than that: what the study says is under Claims."
    )
    found = md.table(head, lines, "ll" + "r" * len(metrics))
    return ["", f"## Against {name}", "", intro, "", *found]


def _claims(table: Table, groups: list[Group], bleu: Metric) -> list[str]:
    """The study's questions: intervals over seeds and MRs, Holm's p for BLEU."""
    errors, spreads, heads, results = ALL["SER"], seed_spreads(groups), [], []
    claims = claimed(table, groups)
    for question, chosen, words in claims:
        if not words:
            sides = sides_of(*chosen)
            seeds = ", ".join(str(run.seed) for run in sides[0])
            heads.append([question, " - ".join(group.label for group in chosen), seeds])
            results.append(compare(*([r.outputs for r in side] for side in sides), spreads))
    if not results:
        return []
    p_values = holm([of_claim[bleu.name].p for of_claim in results], len(claims))
    lines = []
    told = any(errors.name in of_claim for of_claim in results)
    for head, of_claim, p in zip(heads, results, p_values, strict=True):
        claim = of_claim[bleu.name]
        interval = " to ".join(bleu.shown(end, "+") for end in (claim.low, claim.high))
        cells = [bleu.shown(claim.a - claim.b, "+"), interval, f"{p:.4f}"]
        cells.append(bleu.shown(claim.visible))
        cells += [with_interval(of_claim.get(errors.name), errors)] if told else []
        lines.append([*head, *cells, _others(of_claim, bleu)])
    head = ["question", "difference of", "seeds", bleu.name, "95 % interval", "p", "visible"]
    head += [*([errors.head] if told else []), "others"]
    answers = md.table(head, lines, "lll" + "r" * (len(head) - 4) + "l")
    note = CLAIMS_NOTE.format(
        seeds=_seeds_known(spreads.get(bleu.name), bleu), errors=ERRORS_NOTE if told else ""
    )
    without = [f"No answer: {question} ({words})." for question, _, words in claims if words]
    without = ["", *without] if without else []
    return ["", "## Claims", "", note, *answers, *without]


def _seeds_known(spread: Spread | None, bleu: Metric) -> str:
    if spread is None:
        return (
            "Intervals, p and what is visible are over the test MRs alone:\n"
            "how far a seed moves a difference is not known, since no two rows have several."
        )
    return (
        "Intervals are over seeds and MRs: the bootstrap draws MRs, and\n"
        "each sample is moved as far as seeds move a difference. One seed does so by "
        f"{bleu.shown(spread.deviation)} {bleu.name}\n"
        f"(standard deviation, {spread.freedom} degrees of freedom, from all rows with several\n"
        "seeds), which is taken for those with one, too."
    )


def _others(of_claim: dict[str, Difference], bleu: Metric) -> str:
    signs = {}
    for name, claim in of_claim.items():
        sign = int(claim.low > 0) - int(claim.high < 0)
        signs[name] = -sign if ALL[name].lower_is_better else sign
    del signs[bleu.name]
    texts = [f"{'+' if sign > 0 else '-'} {name}" for name, sign in signs.items() if sign]
    return ", ".join(texts) or "none"


def with_interval(found: Difference | None, metric: Metric) -> str:
    """A difference of one metric with its interval, as tables show it."""
    if found is None:
        return MISSING
    value, low, high = (metric.shown(x, "+") for x in (found.a - found.b, found.low, found.high))
    return f"{value} ({low} to {high})"


def with_p(found: Difference | None, metric: Metric) -> str:
    """The same with its p."""
    return MISSING if found is None else f"{with_interval(found, metric)}, p={found.p:.4f}"


def _trainings(groups: list[Group]) -> list[str]:
    """Steps, last losses and last lambdas of every run."""
    lines = []
    for group in groups:
        for run in group.runs:
            last = last_values(run.directory)
            lambdas = lambdas_of(last)
            losses = [f"{last[k]:.3f}" if k in last else MISSING for k in ("loss", "valid_loss")]
            ends = f"{min(lambdas):.4f} to {max(lambdas):.4f}" if lambdas else MISSING
            name = run.name
            steps = f"{last['step']:,}"
            lines.append([group.label, str(run.seed), steps, *losses, ends, name])
    head = [
        head_of(groups),
        "seed",
        "steps",
        "training loss",
        "validation loss",
        "lambda at the end",
        "run",
    ]
    return ["", "## Training", "", *md.table(head, lines)]
