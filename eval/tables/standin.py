"""The table of the runs on a stand-in backbone: scores with intervals, and each row against LoRA.

Intervals are bootstrap percentiles (95 %) over the test MRs; of several seeds, of their mean.
Everything comes from run directories; statistics.json is there once a run was scored.
"""

import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np

from eval import compare
from eval.metrics.statistics import scores
from eval.tables import lines as tables
from eval.tables.render import MISSING, scaled
from eval.tables.runs import METRICS, Run, read_log

AGAINST = "standin/lora"  # the row that the others are compared with
SAMPLES, SEED = 2000, 1
NOTE = """\
Every number is of a stand-in backbone: {backbones}. None is a reproduction.
BLEU, METEOR and ROUGE-L x 100; in brackets a 95 % interval, bootstrap over the test MRs; several
seeds: their mean ± standard deviation, the interval that of the mean.
"""


def groups_of(table: dict, runs: list[Run]) -> dict[str, list[Run]]:
    """{label: runs that differ in their seed alone}, in the table's order, paper before devcode."""
    found = defaultdict(list)
    for row, filling in tables.rows_of(table, runs):
        filling = sorted(filling, key=lambda run: (run.variant == "devcode", run.seed))
        several = len({(run.variant, run.group) for run in filling}) > len(
            {run.variant for run in filling}
        )
        for run in filling:
            label = row["label"] + (", devcode" if run.variant == "devcode" else "")
            found[label + (f", {_steps(run)} steps, lr {run.lr:g}" if several else "")].append(run)
    return dict(found)


def markdown(table: dict, runs: list[Run], left_out: list[str]) -> str:
    """The whole page: scores, differences to LoRA with p, training and lambdas."""
    groups = groups_of(table, runs)
    names = sorted({run.marks[0] for group in groups.values() for run in group if run.marks})
    text = [f"# {table['title']}", "", NOTE.format(backbones="; ".join(names) or "no run yet")]
    text += [_row(["stand-in", "trainable", "lr", "seeds", *METRICS])]
    text += ["|---|---:|---|---|" + "---:|" * len(METRICS)]
    for label, group in groups.items():
        size = group[0].n_params
        head = [label, f"{size:,}", f"{group[0].lr:g}" if size else MISSING]
        head.append(", ".join(str(run.seed) for run in group))
        intervals = _intervals(group)
        text.append(_row([*head, *(_score(group, name, intervals) for name in METRICS)]))
    text += [*_differences(table, groups), *_trainings(groups)]
    if left_out:
        text += ["", "## Run directories left out", "", *(f"- {line}" for line in left_out)]
    return "\n".join(text) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _steps(run: Run) -> str:
    return f"{read_log(run.directory)[-1]['step']:,}"


def _score(group: list[Run], name: str, intervals: dict) -> str:
    values = [run.scores[name] for run in group]
    text = scaled(statistics.fmean(values), name)
    text += f" ± {scaled(statistics.stdev(values), name)}" if len(values) > 1 else ""
    if name in intervals:
        low, high = (scaled(value, name) for value in intervals[name])
        text += f" [{low}, {high}]"
    return text


def _intervals(group: list[Run]) -> dict[str, tuple[float, float]]:
    """95 % interval of the mean score over the group's seeds, by metric; empty if not scored here.

    The seeds meet the same resampled MRs.
    """
    sides = [compare.kept(run.directory) for run in group]
    if None in sides or any(side.sources != sides[0].sources for side in sides):
        return {}
    size = len(sides[0].rows)
    random = np.random.default_rng(SEED)
    weights = random.multinomial(size, np.full(size, 1 / size), size=SAMPLES)
    drawn = [scores(side.rows, weights) for side in sides]
    means = {name: np.mean([of_seed[name] for of_seed in drawn], 0) for name in METRICS}
    return {name: tuple(np.percentile(means[name], [2.5, 97.5])) for name in METRICS}


def _differences(table: dict, groups: dict[str, list[Run]]) -> list[str]:
    """Paired bootstrap of every row against LoRA with the same seed and weights."""
    labels = [row["label"] for row in table["rows"] if row["row"] == AGAINST]
    baseline = {(r.seed, r.weights): r for label in labels for r in groups.get(label, [])}
    lines = []
    for label, group in groups.items():
        for run in group if label not in labels else []:
            other = baseline.get((run.seed, run.weights))
            sides = [compare.kept(r.directory) for r in (run, other) if r]
            if len(sides) < 2 or None in sides:
                continue
            found = compare.compare(*sides)
            cells = [label, str(run.seed)]
            for name in METRICS:
                one = found[name]
                ends = f"{scaled(one.low, name, '+')}, {scaled(one.high, name, '+')}"
                cells.append(f"{scaled(one.a - one.b, name, '+')} [{ends}] p={one.p:.4f}")
            lines.append(_row(cells))
    if not lines:
        return []
    head = ["stand-in", "seed", *METRICS]
    intro = (
        "Row minus LoRA of the same seed; 95 % interval and two-sided p of the paired bootstrap."
    )
    rule = "|---|---|" + "---:|" * len(METRICS)
    return ["", f"## Against {labels[0]}", "", intro, "", _row(head), rule, *lines]


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
            name = Path(run.directory).name
            lines.append(_row([label, str(run.seed), _steps(run), *losses, ends, name]))
    head = ["stand-in", "seed", "steps", "training loss", "validation loss", "lambda at the end"]
    return ["", "## Training", "", _row([*head, "run"]), "|---" * 7 + "|", *lines]
