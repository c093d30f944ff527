"""Whole runs at the rates beside the one that a sweep chose: was the choice of short runs right?"""

from collections import defaultdict

from .. import markdown as md
from ..claims import compare
from ..metrics.metric import Metric
from ..records import last_values
from .groups import groups_of, why_incomparable
from .lines import Table, metrics_of
from .render import MISSING, left_out_section
from .runs import Run
from .study import backbones_of, head_of, with_p

NOTE = """\
{backbones}
A sweep of short runs chose the rate in bold. Beside it stand whole runs of the same seed at the
next lower and the next higher rate of that sweep. Difference: BLEU minus that of the run at the
chosen rate, with the 95 % interval and the two-sided p of a paired bootstrap over the test MRs (of
one seed, so too narrow for what another seed would give).
"""


def markdown(table: Table, beside: Table) -> str:
    """The page. table: the study's; beside: the same with the runs at the neighbours' rates."""
    metrics = metrics_of(beside)
    groups = groups_of(beside)
    note = NOTE.format(backbones=backbones_of(groups))
    heads = [head_of(groups), "seed", "rate", *(m.head for m in metrics), "validation loss"]
    rows, others = [], defaultdict(list)
    for group in groups:
        others[group.kind] += group.runs
    for group in groups_of(table):
        for chosen in group.runs:
            alike = [run for run in others[group.kind] if run.seed == chosen.seed]
            for run in sorted([chosen, *alike], key=lambda run: run.lr) if alike else []:
                rows.append(_line(group.label, run, chosen, metrics))
    lines = [f"# Beside the chosen rates: {table.definition['title']}", "", note]
    lines += md.table([*heads, "difference"], rows, "l" + "r" * len(heads))
    return "\n".join(lines + left_out_section(beside)) + "\n"


def _line(label: str, run: Run, chosen: Run, metrics: list[Metric]) -> list[str]:
    rate = f"**{run.lr:g}**" if run is chosen else f"{run.lr:g}"
    shown = [m.shown(run.scores[m.name]) if m.name in run.scores else MISSING for m in metrics]
    last = last_values(run.directory)
    loss = f"{last['valid_loss']:.3f}" if "valid_loss" in last else MISSING
    found = "" if run is chosen else _to(chosen, run, metrics[0])
    return [label, str(run.seed), rate, *shown, loss, found]


def _to(chosen: Run, run: Run, metric: Metric) -> str:
    if why_incomparable(run, chosen):
        return MISSING
    return with_p(compare([run.outputs], [chosen.outputs]).get(metric.name), metric)
