"""What pages quote from a study's runs: its tables, and figures of the methods in it.

A method is a name of the study's list, of another study STUDY/NAME.
"""

import functools
import math
from collections import Counter
from itertools import chain
from pathlib import Path
from statistics import fmean, median

from eval import records
from eval.claims import Difference, Spread, compare
from eval.markdown import table
from eval.metrics import ALL, SETS
from eval.tables import render
from eval.tables.groups import Group, Kind, claimed, groups_of, seed_spreads, sides_of
from eval.tables.lines import Table
from eval.tables.runs import Run
from eval.tables.study import head_of, names_right, with_interval
from solo.cli.rows import reported_tables
from solo.cli.studies import NEIGHBOURS, definition
from solo.cli.study_list import StudyList, kinds_of, read_list
from solo.cli.tables import table_of
from solo.files import ROOT, read_json
from solo.options import check
from solo.run_files import ENVIRONMENT, SCORES

IN_GROUPS = "groups="
BORROWED = "°"
STUDY = "standin12"  # of a method, unless its name is STUDY/NAME


def study_table(study: str = STUDY, *shown: str) -> str:
    """A line for each method of a study with its scores, names and validation loss, their means
    over its seeds; where not all have the same seeds, the first score of those that all have, too.

    shown: names of metrics, `_` for a space; without any all that every run has but chrF.
    groups=a,b among them: only the methods of these groups of the study's list. A rate with
    BORROWED behind it is of another method's sweep.
    """
    groups, (listed, kind_of_name) = _groups(study), _list(study)
    borrowed = {kind_of_name[name] for name in listed.rates_of}
    if chosen := [word for word in shown if word.startswith(IN_GROUPS)]:
        shown = [word for word in shown if word not in chosen]
        letters = chosen[0].removeprefix(IN_GROUPS).split(",")
        names = chain.from_iterable(listed.groups[letter].names for letter in letters)
        kinds = {kind_of_name[name] for name in names}
        groups = [group for group in groups if group.kind in kinds]
    runs = [run for group in groups for run in group.runs]
    names = [*map(_metric, shown)] or [name for name in ALL if name != "chrF"]
    metrics = [ALL[name] for name in names if all(name in run.scores for run in runs)]
    check(bool(metrics), f"not all runs of {study} have scores of {', '.join(names)}")
    first, named = metrics[0], any(names_right([run]) != render.MISSING for run in runs)
    common = set.intersection(*({run.seed for run in group.runs} for group in groups))
    apart = any({run.seed for run in group.runs} != common for group in groups) and common

    def of_common(group: Group) -> float:
        alike = [run for run in group.runs if run.seed in common] or group.runs
        return fmean(run.scores[first.name] for run in alike)

    heads = [head_of(groups), "trainable", "rate", "seeds"]
    heads += [f"{first.head}, seed {', '.join(map(str, sorted(common)))}"] if apart else []
    heads += [*(m.head for m in metrics), *(["names right"] if named else []), "validation loss"]
    rows = []
    for group in sorted(groups, key=of_common, reverse=not first.lower_is_better):
        size, n_runs = group.runs[0].n_params, len(group.runs)
        rate = f"{group.runs[0].lr:g}" + BORROWED * (group.kind in borrowed)
        cells = [group.label, f"{size:,}", rate if size else render.MISSING, str(n_runs)]
        cells += [first.shown(of_common(group))] if apart else []
        means = [m.shown(_mean(group, m.name)) for m in metrics]
        means[0] = first.shown_mean([run.scores[first.name] for run in group.runs])
        cells += [*means, *([names_right(group.runs)] if named else [])]
        loss = fmean(records.last_values(run.directory)["valid_loss"] for run in group.runs)
        rows.append([*cells, f"{loss:.3f}"])
    return "\n".join(table(heads, rows, "l" + "r" * (len(heads) - 1)))


def _mean(group: Group, metric: str) -> float:
    return fmean(run.scores[metric] for run in group.runs)


def study_rates(study: str = STUDY) -> str:
    """The validation losses of a study's sweeps, the best in bold."""
    rows = []
    for path in sorted((_home(study) / "rates").glob("*.json")):
        values = read_json(path, ["best", "valid_losses"])
        cells = []
        for lr, loss in values["valid_losses"]:
            cell = f"{lr:g} diverged" if loss is None else f"{lr:g} {loss:.3f}"
            cells.append(f"**{cell}**" if lr == values["best"] else cell)
        rows.append([path.stem, ", ".join(cells)])
    return "\n".join(table(["sweep", "rates and losses"], rows))


def hours(study: str = STUDY) -> str:
    """How many whole runs a study has, those at other rates than the chosen ones included, and what
    training and decoding took on a core, as recorded; of a training of several runs together each
    counts its part, of one that was interrupted what its last process took. Runs on a GPU are
    counted apart."""
    spent, elsewhere = [], Counter()
    folders = [f for f in ("runs", NEIGHBOURS) if (_home(study) / f).is_dir()]
    groups = chain.from_iterable(_groups(study, folder) for folder in folders)
    for run in (run for group in groups for run in group.runs if run.n_params):
        train = records.read(run.directory, ENVIRONMENT)["train"]
        decode = records.read(run.decoding, ENVIRONMENT)["decode"]
        if device := train["hardware"].get("gpu"):
            elsewhere[device] += 1
            continue
        seconds = train["seconds"] / train.get("together", 1) + decode["seconds"]
        spent.append(seconds / 3600)
    told = [f"{count} on an {device}" for device, count in elsewhere.items()]
    if spent:
        minutes = " to ".join(f"{60 * end:.0f}" for end in (min(spent), max(spent)))
        told.insert(
            0,
            f"{len(spent)} whole runs in {sum(spent):.1f} hours of one core, {minutes} minutes "
            f"each (median {60 * median(spent):.0f}, of an interrupted one the time since then)",
        )
    return "; ".join(told) or "no whole run yet"


def score(method: str, metric: str, digits: str = "1", seed: str = "") -> str:
    """The mean of a score over a method's seeds, or that of one, as tables scale it; `_` in it for
    a space."""
    metric, group = _metric(metric), _group(method)
    values = [run.scores[metric] for run in group.runs if seed in ("", str(run.seed))]
    seeds = ", ".join(str(run.seed) for run in group.runs)
    check(bool(values), f"{method} has no run of seed {seed}; it has {seeds}")
    return f"{fmean(values) * ALL[metric].scale:.{digits}f}"


def extent(method: str, metric: str, digits: str = "1") -> str:
    """The lowest and the highest of a score over a method's seeds."""
    values = [run.scores[_metric(metric)] for run in _group(method).runs]
    ends = (ALL[_metric(metric)].scale * end for end in (min(values), max(values)))
    return " to ".join(f"{end:.{digits}f}" for end in ends)


def lead(first: str, second: str, metric: str = "BLEU") -> str:
    """By how much one method's mean score is above another's over the seeds that both have, with
    its 95 % interval: over the test MRs, and over seeds where the study has methods with
    several."""
    differences, seeds = _differences(first, second)
    words = _with_interval(differences[_metric(metric)], _metric(metric))
    return words.replace(")", ", one seed)") if seeds == 1 else words


def _differences(first: str, second: str) -> tuple[dict[str, Difference], int]:
    """(by metric, as in the study's table; over how many seeds)."""
    sides = sides_of(_group(first), _group(second))
    study, _ = _study_and_name(first)
    outputs = ([run.outputs for run in side] for side in sides)
    return compare(*outputs, _spreads(study)), len(sides[0])


def beside(method: str, rate: str, metric: str = "BLEU") -> str:
    """By how much a method's whole run at a rate beside the chosen one is above that of its seed,
    with the interval over the test MRs."""
    found = _at_rate(method, rate)[0]
    [chosen] = [run for run in _group(method).runs if run.seed == found.seed]
    differences = compare([found.outputs], [chosen.outputs])
    return _with_interval(differences[_metric(metric)], _metric(metric))


def _with_interval(found: Difference, metric: str) -> str:
    """With one digit, which is what a sentence needs."""
    scale = ALL[metric].scale
    value, low, high = (_one(x * scale) for x in (found.a - found.b, found.low, found.high))
    return f"{value} ({low} to {high})"


def _one(value: float) -> str:
    """A figure with one digit; 0.0 has no minus."""
    return f"{round(value, 1) + 0.0:.1f}"


def _at_rate(method: str, rate: str) -> list[Run]:
    """A method's whole runs at a rate beside the chosen one. ValueError unless there are some."""
    study, member = _study_and_name(method)
    kind, groups = _group(method).kind, _groups(study, NEIGHBOURS)
    found = [run for group in groups if group.kind == kind for run in group.runs]
    found = [run for run in found if run.lr == float(rate)]
    if not found:
        raise ValueError(f"{_home(study) / NEIGHBOURS} has no run of {member} at a rate of {rate}")
    return found


def study_claims(study: str = STUDY) -> str:
    """A study's questions: the paper's difference in the first metric, and those in it and in slot
    errors here."""
    listed, errors = _list(study)[0], ALL["SER"].head
    names, first = listed.names, next(iter(SETS[listed.metrics or "e2e"].values()))
    paper = {row["row"]: row.get("paper", {}) for table in reported_tables().values()
             if "rows" in table for row in table["rows"]}  # fmt: skip

    def signed(points: float) -> str:
        return first.shown(points / first.scale, "+")

    head = ["question", "difference of", f"{first.head} in the paper"]
    head += [f"{first.head} here, 95 % interval", f"{errors} here", "seeds"]
    lines = []
    answered = claimed(_table(study), _groups(study))
    for claim, (*_, words) in zip(listed.claims, answered, strict=True):
        sides = [claim.a, claim.b]
        rows = [names[side].row for side in sides]
        printed = [paper[row].get(first.name) for row in rows]
        cells = [claim.question, " - ".join(f"`{side}`" for side in sides)]
        known = None not in printed and len(set(rows)) == 2
        cells.append(signed(float(printed[0]) - float(printed[1])) if known else render.MISSING)
        if words:
            cells += [words, render.MISSING, render.MISSING]
        else:
            found, seeds = _differences(*(f"{study}/{side}" for side in sides))
            cells.append(with_interval(found[first.name], first))
            cells += [with_interval(found.get("SER"), ALL["SER"]), str(seeds)]
        lines.append(cells)
    return "\n".join(table(head, lines, "llrrrr"))


def slots(method: str, what: str, form: str = "count") -> str:
    """How many slot values of the test MRs a method's runs have missing or wrong, all seeds
    together (form: count, or percent of all), or what share of their outputs has every slot right
    (what: right)."""
    found = [records.read(run.decoding, SCORES)["details"] for run in _group(method).runs]
    count = sum(details["slot_counts"][what] for details in found)
    of_all = [d["n_segments"] if what == "right" else d["slot_counts"]["slots"] for d in found]
    return f"{count:,}" if form == "count" else f"{100 * count / sum(of_all):.1f} %"


def brevity(method: str, what: str) -> str:
    """The lowest and the highest over a method's seeds: words of an output (what: words), as BLEU
    counts them, or BLEU without its penalty for short outputs (what: precision)."""
    values = []
    for run in _group(method).runs:
        counts = run.outputs.statistics["BLEU"]
        length, closest = counts[:, 0].sum(), counts[:, 1].sum()  # eval/metrics/bleu.py
        penalty = min(1.0, math.exp(1 - closest / length))
        values.append(
            length / len(counts) if what == "words" else 100 * run.scores["BLEU"] / penalty
        )
    return " to ".join(sorted({f"{end:.1f}" for end in (min(values), max(values))}, key=float))


def lambdas(method: str, rate: str = "") -> str:
    """The lowest and the highest lambda that a method's runs ended with, or those at a rate beside
    the chosen one."""
    runs = _at_rate(method, rate) if rate else _group(method).runs
    ended = [records.last_values(run.directory) for run in runs]
    values = [value for last in ended for value in records.lambdas_of(last)]
    check(bool(values), f"{method} has no lambda")
    return f"{min(values):.2g} to {max(values):.2g}"


def _metric(word: str) -> str:
    """A metric's name; in a quote `_` stands for its space."""
    return word if word in ALL else word.replace("_", " ")


def _home(study: str) -> Path:
    return ROOT / "results" / study


@functools.cache  # a page asks for it dozens of times, as for the next
def _list(study: str) -> tuple[StudyList, dict[str, Kind]]:
    """A study's list, and of which kind the runs of each of its names are."""
    listed = read_list(study)
    return listed, kinds_of(listed)


@functools.cache
def _table(study: str, folder: str = "runs") -> Table:
    return table_of(study, _home(study) / folder, definition(study))


@functools.cache  # whose runs keep their statistics
def _groups(study: str, folder: str = "runs") -> list[Group]:
    return groups_of(_table(study, folder))


@functools.cache
def _spreads(study: str) -> dict[str, Spread]:
    return seed_spreads(_groups(study))


def _study_and_name(name: str) -> tuple[str, str]:
    study, _, member = name.rpartition("/")
    return study or STUDY, member


def _group(name: str) -> Group:
    """The runs of a name of a study. ValueError unless there are some."""
    study, member = _study_and_name(name)
    kind = _list(study)[1][member]
    found = [group for group in _groups(study) if group.kind == kind]
    if not found:
        raise ValueError(f"{_home(study)}/runs has no run of {member}; a quote needs one")
    return found[0]


QUOTED = (
    study_table, study_rates, study_claims, hours, score, extent, lead, beside, slots, brevity,
    lambdas,
)  # fmt: skip
