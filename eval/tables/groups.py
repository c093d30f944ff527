"""The runs of a study in groups that differ in their seed alone, and which of them belong together.

Claims, quotes and pictures speak of groups; eval/tables/study.py shows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

from .. import bootstrap
from ..claims import Spread, seed_spread
from ..metrics import ALL
from ..records import last_values, word
from .lines import Table, rows_of
from .runs import Run


class Kind(NamedTuple):
    """What a claim names. others: the adapter's options that are otherwise than the row has them,
    its variant aside, as KEY=VALUE."""

    row: str
    variant: str | None
    epochs: int
    others: tuple[str, ...] = ()


@dataclass
class Group:
    """Runs that differ in their seed alone."""

    label: str
    kind: Kind
    runs: list[Run] = field(default_factory=list)


def groups_of(table: Table) -> list[Group]:
    """The groups in the table's order, a row's paper variant before its devcode.

    Of several groups of one kind, which differ in rate, steps or the like, the first is the one
    that claims and quotes speak of: trained as the study says, at the rate that it chose, else of
    the most seeds. A seed that comes twice, as among runs of earlier versions, which drew another
    dropout alone than together (`shared_draws` in their identity), is in two groups.
    """
    groups: dict[tuple[str, int], Group] = {}
    for row, filling in rows_of(table):
        settings = table.settings[row["row"]]["adapter"]
        kinds = {run.key: kind_of(row["row"], run.options, settings) for run in filling}
        for run in sorted(filling, key=lambda run: (run.variant == "devcode", run.seed)):
            kind = kinds[run.key]
            label = row["label"] + (", devcode" if run.variant == "devcode" else "")
            label += "".join(f", {option}" for option in kind.others)
            label += f", {kind.epochs} epochs" if kind.epochs != 1 else ""
            if len({other.group for other in filling if kinds[other.key] == kind}) > 1:
                label += f", {_steps(run)} steps, lr {run.lr:g}"
            again = sum(
                other.group == run.group and other.seed == run.seed and other.name < run.name
                for other in filling
            )
            label += ", the same seed again" * bool(again)
            groups.setdefault((run.group, again), Group(label, kind)).runs.append(run)
    _tell_apart(list(groups.values()))
    rates, recipes = (table.definition.get(key, {}) for key in ("rates", "recipes"))
    found = list(groups.values())
    places = {kind: place for place, kind in enumerate(dict.fromkeys(g.kind for g in found))}

    def order(group: Group) -> tuple[int, bool, bool, int]:
        run, recipe = group.runs[0], recipes.get(group.kind, {})
        trained = run.options["train"]
        other_recipe = any(trained.get(key, value) != value for key, value in recipe.items())
        other_rate = run.lr != rates.get(group.kind, run.lr)
        return places[group.kind], other_recipe, other_rate, -len(group.runs)

    return sorted(found, key=order)


def _tell_apart(groups: Sequence[Group]) -> None:
    """Add to a label that several groups have in which options of training and decoding they
    differ."""
    by_label: dict[str, list[Group]] = {}
    for group in groups:
        by_label.setdefault(group.label, []).append(group)
    for same in by_label.values():
        options = [_all_options(group.runs[0]) for group in same]
        for group, own in zip(same, options, strict=True):
            differing = (key for key in own if any(o.get(key) != own[key] for o in options))
            group.label += "".join(f", {key}={word(own[key])}" for key in differing)


def _all_options(run: Run) -> dict[str, object]:
    """Of training and decoding, with the first digits of the checksums of data and backbone."""
    found = {f"{part}.{key}": value for part in ("train", "decode")
             for key, value in run.options[part].items()}  # fmt: skip
    found |= {f"data.{key}": str(value)[:8] for key, value in run.options["data"].items()}
    return found | {"backbone": f"{Path(run.backbone).name} {run.weights[:8]}"}


def kind_of(row: str, options: dict, settings: dict) -> Kind:
    """The kind of a run with these options that was made for a row; settings: of its adapter."""
    others = {
        key: value
        for key, value in options["adapter"].items()
        if key in settings and value != settings[key] and key != "variant"
    }
    words = tuple(sorted(f"{key}={word(value)}" for key, value in others.items()))
    return Kind(row, options["adapter"].get("variant"), options["train"]["epochs"], words)


def _steps(run: Run) -> str:
    return f"{last_values(run.directory)['step']:,}"


def alike(a: list[Run], b: list[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of the seeds that both have, by seed, one of each."""
    by_seed = [{run.seed: run for run in runs} for runs in (a, b)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    return tuple([runs[seed] for seed in seeds] for runs in by_seed)


def seed_spreads(groups: Sequence[Group]) -> dict[str, Spread]:
    """How far a seed moves a difference of two groups, by metric, from the groups that have it."""
    found = {
        name: seed_spread(
            [
                {run.seed: run.scores[name] for run in group.runs}
                for group in groups
                if all(name in run.scores for run in group.runs)
            ]
        )
        for name in ALL
    }
    return {name: spread for name, spread in found.items() if spread}


def why_incomparable(*runs: Run) -> str | None:
    """Why runs cannot be compared, MR by MR, in words; None if they can."""
    for run in runs:
        if run.outputs is None:
            return f"{run.name} has no statistics; scripts/evaluate.py leaves them"
        if run.weights != runs[0].weights:
            return f"{runs[0].name} and {run.name} are of different backbones"
        if run.options["data"] != runs[0].options["data"]:
            return f"{runs[0].name} and {run.name} are of different data"
    try:
        for run in runs[1:]:
            bootstrap.in_order(runs[0].outputs, run.outputs)
    except ValueError as error:
        return str(error)
    return None


def sides_of(a: Group, b: Group) -> tuple[list[Run], list[Run]]:
    """The runs of the seeds that both groups have. ValueError if these cannot be compared."""
    sides = alike(a.runs, b.runs)
    if not sides[0]:
        seeds = (", ".join(str(run.seed) for run in group.runs) for group in (a, b))
        raise ValueError("they have no seed in common: {} and {}".format(*seeds))
    if words := why_incomparable(*sides[0], *sides[1]):
        raise ValueError(words)
    return sides


def claimed(table: Table, groups: Sequence[Group]) -> list[tuple[str, Sequence[Group], str]]:
    """The study's questions, each with those of its two groups that were run and, where it has no
    answer, why, in words."""
    found = []
    for question, *kinds in table.definition["claims"]:
        sides = [[group for group in groups if group.kind == kind] for kind in kinds]
        chosen = [of_kind[0] for of_kind in sides if of_kind]  # the first, as in quotes
        words = "not run yet"
        for number, pair in enumerate(product(*sides)):  # or the first that can be compared
            try:
                sides_of(*pair)
                chosen, words = pair, ""
                break
            except ValueError as error:
                words = words if number else str(error)
        found.append((question, chosen, words))
    return found
