"""A study as configs/study/NAME.yaml lists it, checked before anything rests on it."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import yaml

from eval.tables.groups import Kind, kind_of
from solo import files
from solo.cli.command import CONFIGS
from solo.cli.compose import compose_values, key_of
from solo.cli.rows import settings_of
from solo.options import check, make

ADAPTER, TRAIN = "adapter.", "train."
EPOCHS = "train.epochs"
T = TypeVar("T")
HOME = re.compile(r"^home: *['\"]?([^\s'\"]+)", re.MULTILINE)


@dataclass(frozen=True)
class Name:
    """One of the runs of a study. row: that of a table whose configuration it has; label: what its
    row is called on the study's page, where the table's own says too little (the first name of a
    row decides); overrides: what it sets otherwise."""

    row: str
    label: str | None = None
    overrides: list = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Names that run with the same seeds. neighbours: not they, but they at the two rates beside
    the one that their sweep chose."""

    names: list
    seeds: list
    neighbours: bool = False


@dataclass(frozen=True)
class Question:
    """A question that the difference a - b of two names answers."""

    question: str
    a: str
    b: str


@dataclass(frozen=True)
class StudyList:
    """The keys of a study's file. home: results/NAME, where runs, sweeps and rates go. against: the
    row that the others are compared with. names, groups, claims: of Name, Group and Question.
    overrides: of every run; sweep: further ones of the short runs that try rates. rates: by name,
    which ones are tried; a name without goes at its row's own. rates_of: by name, the name whose
    sweep decides instead. outputs: names whose texts outputs.md shows. metrics: the set of scores,
    if not E2E's.
    """

    title: str
    home: str
    against: str
    names: dict
    groups: dict
    overrides: list = field(default_factory=list)
    sweep: list = field(default_factory=list)
    rates: dict = field(default_factory=dict)
    rates_of: dict = field(default_factory=dict)
    claims: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    metrics: str | None = None


def read_list(name: str) -> StudyList:
    """configs/study/NAME.yaml.

    Raises ValueError for an unknown study, and for whatever does not fit together in its file.
    """
    paths = {path.stem: path for path in sorted((CONFIGS / "study").glob("*.yaml"))}
    check(name in paths, f"unknown study {name!r}; known: {', '.join(paths)}")
    values = files.read_yaml(paths[name])
    try:
        check(isinstance(values, dict), "it has no keys")
        listed = _checked(values)
        for other, path in paths.items():
            homes = HOME.findall(path.read_text(encoding="utf-8"))
            check(
                other == name or listed.home not in homes,
                f"home {listed.home} is the study {other}'s; choose a folder of its own",
            )
    except ValueError as error:
        raise ValueError(f"{paths[name]}: {error}") from error
    return listed


def _checked(values: dict) -> StudyList:
    listed = make(StudyList, values)
    home = listed.home.split("/")
    check(
        len(home) == 2 and home[0] == "results" and home[1].strip("."),
        f"home is {listed.home!r}; it must be a folder of results, such as results/mine",
    )
    claims = {number: entry for number, entry in enumerate(listed.claims)}
    listed = replace(
        listed,
        names=_made(Name, listed.names, "names.{}"),
        groups=_made(Group, listed.groups, "groups.{}"),
        claims=[*_made(Question, claims, "claims[{}]").values()],
    )
    names = listed.names
    for key in ("outputs", "rates", "rates_of"):
        _check_known(getattr(listed, key), key, names)
    for key, group in listed.groups.items():
        _check_known(group.names, f"groups.{key}.names", names)
        whole = all(type(seed) is int for seed in group.seeds)
        check(group.seeds and whole, f"groups.{key}.seeds must be whole numbers, such as [1]")
    for claim in listed.claims:
        _check_known([claim.a, claim.b], f"the claim {claim.question!r}", names)
    rows = dict.fromkeys(entry.row for entry in names.values())
    check(
        listed.against in rows,
        f"against is {listed.against!r}, the row of no name; the rows are {', '.join(rows)}",
    )
    for name, rates in listed.rates.items():
        _check_rates(name, rates)
    for name, other in listed.rates_of.items():
        check(
            other in listed.rates,
            f"rates_of.{name} is {other!r}; rates are given for {', '.join(listed.rates)}",
        )
    _check_kinds(listed)
    return listed


def _made(cls: type[T], entries: Mapping, place: str) -> dict[Any, T]:
    """Each entry as a `cls`. place: where it stands, for its key."""
    return {
        key: make(cls, entry if isinstance(entry, dict) else {}, place.format(key))
        for key, entry in entries.items()
    }


def _check_known(given: Iterable[str], where: str, names: Iterable[str]) -> None:
    for name in given:
        check(name in names, f"{where} has {name!r}; the names are {', '.join(names)}")


def _check_rates(name: str, rates: object) -> None:
    try:
        numbers = [float(rate) for rate in rates]
    except (TypeError, ValueError):
        numbers = []
    check(
        bool(numbers) and min(numbers) > 0 and len(set(numbers)) == len(numbers),
        f"rates.{name} is {rates}; it must be a list of different rates, such as [1.0e-3, 3.0e-3]",
    )


def _check_kinds(listed: StudyList) -> None:
    """Refuse two names that the page could not tell apart."""
    names: dict[Kind, str] = {}
    for name, kind in kinds_of(listed).items():
        other = names.setdefault(kind, name)
        check(
            other == name,
            f"names.{other} and names.{name} have the same row and differ in no option of the "
            "adapter, nor in train.epochs: claims could not tell their runs apart; give one a row "
            "of its own (configs/experiment)",
        )


def recipe_of_entry(entry: Name, common: list[str]) -> dict[str, object]:
    """The options of training that a study sets for a name. common: its overrides of all."""
    own = dict(map(_parts, [*common, *entry.overrides]))
    return {k.removeprefix(TRAIN): value for k, value in own.items() if k.startswith(TRAIN)}


def kinds_of(listed: StudyList) -> dict[str, Kind]:
    """{name: what its runs are}: the row, the variant if its method has any, the epochs, and what
    else of the adapter is otherwise than the row has it.

    It equals `eval.tables.groups.kind_of` of a run with the name's whole configuration.
    """
    common = listed.overrides
    return {
        name: _kind(entry.row, [*common, *entry.overrides]) for name, entry in listed.names.items()
    }


def _kind(row: str, overrides: Sequence[str]) -> Kind:
    of_adapter = [override for override in overrides if key_of(override).startswith(ADAPTER)]
    adapter = settings_of(row, *of_adapter)["adapter"]
    epochs = dict(map(_parts, overrides)).get(EPOCHS) or _epochs(row, overrides)
    options = {"adapter": adapter, "train": {"epochs": epochs}}
    return kind_of(row, options, settings_of(row)["adapter"])


def _epochs(row: str, overrides: Sequence[str]) -> int:
    """The epochs of a row's recipe, or of the one that the overrides choose (train=NAME).

    Almost every row leaves them to the recipe, and then one composition does for all rows.
    """
    recipes = tuple(override for override in overrides if key_of(override) == "train")
    of_row = settings_of(row)["train"]["epochs"]
    if not recipes:
        return of_row
    if of_row == _epochs_of_recipe():
        return _epochs_of_recipe(recipes)
    return settings_of(row, *recipes)["train"]["epochs"]


@functools.cache
def _epochs_of_recipe(recipes: tuple[str, ...] = ()) -> int:
    return compose_values(recipes)["train"]["epochs"]


def _parts(override: str) -> tuple[str, object]:
    _, _, value = override.partition("=")
    return key_of(override), yaml.load(value, files.LOADER)
