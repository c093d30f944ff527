"""Table rows as configurations."""

import functools
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from eval.tables.lines import load_reported, with_family_rows
from solo.adapters import METHODS
from solo.cli.command import CONFIGS, PAPER_TABLES
from solo.cli.compose import SWEEP, check_unread, compose_config, compose_values, expand, key_of
from solo.cli.schema import OF_ENTRY_POINTS
from solo.runs.config import RunConfig
from solo.runs.run import Run, make_run

LAUNCHERS = {  # hydra/launcher=NAME: (module, package)
    "joblib": ("hydra_joblib_launcher", "hydra-joblib-launcher"),
    "submitit_slurm": ("hydra_submitit_launcher", "hydra-submitit-launcher"),
    "submitit_local": ("hydra_submitit_launcher", "hydra-submitit-launcher"),
}


OF_ONE_RUN = {*OF_ENTRY_POINTS, "experiment", "row", "sweep", "decode.output"}
SETTINGS = ("model", "data", "adapter", "train", "decode")  # that a row decides


@dataclass(frozen=True)
class Row:
    """A row to run: its name, the overrides that apply to it, and its configuration."""

    name: str
    overrides: list[str]
    config: RunConfig

    @property
    def run(self) -> Run:
        return make_run(self.config)


def reported_tables() -> dict:
    """eval/tables/paper.yaml, with a row of the family for every method that has an experiment
    file and no line there; its label is the class's."""
    files = {name: CONFIGS / "experiment" / "family" / f"{name}.yaml" for name in METHODS}
    labels = {
        f"family/{name}": METHODS[name].label for name, file in files.items() if file.is_file()
    }
    return with_family_rows(load_reported(), labels)


def tables_named(name: str) -> list[str]:
    """`name` itself, or Tables 1 to 6 for `all`."""
    return list(PAPER_TABLES) if name == "all" else [name]


def row_names(tables: Iterable[str], chosen: str | None) -> list[str]:
    """The rows of `tables`; of them those `chosen` (comma-separated, with or without the table).

    Raises ValueError for an unknown one.
    """
    reported = reported_tables()
    rows = [row["row"] for table in tables for row in reported[table]["rows"]]
    if chosen is None:
        return rows
    names = []
    for part in chosen.split(","):
        matching = [row for row in rows if part in (row, row.split("/", 1)[1])]
        if not matching:
            raise ValueError(f"unknown row {part!r}; known: {', '.join(rows)}")
        names += matching
    return names


def own_overrides(tables: Iterable[str]) -> dict[str, list[str]]:
    """{row: overrides} of the tables that run their rows elsewhere than the experiment files say
    (the family on the demo's backbone): the table's, then the row's own."""
    own, reported = {}, reported_tables()
    for table in tables:
        of_table = reported[table].get("overrides", [])
        for row in reported[table]["rows"] if of_table else []:
            options = [f"{key}={value}" for key, value in row.get("demo", {}).items()]
            own[row["row"]] = [*of_table, *options]
    return own


def row_settings(names: Iterable[str], overrides: Sequence[str] = ()) -> dict[str, dict]:
    """`settings_of` of several rows, by name."""
    return {name: settings_of(name, *overrides) for name in names}


def own_settings(table: str) -> dict[str, dict]:
    """The same for the rows of a table that runs them elsewhere than their experiment files say."""
    own = own_overrides([table])
    return {name: settings_of(name, *overrides) for name, overrides in own.items()}


@functools.cache
def settings_of(name: str, *overrides: str) -> dict[str, dict]:
    """{"model": {...}, "data": ..., "adapter": ..., "train": ..., "decode": ...}: what a row's
    experiment file, and overrides, ask. Raises ValueError for an unknown row."""
    values = compose_values([f"experiment={name}", *overrides])
    return {group: values[group] for group in SETTINGS}


def compose_row(row: str, overrides: Sequence[str]) -> RunConfig:
    """The configuration of a table row. Raises ValueError for a bad override."""
    try:
        return compose_config([f"experiment={row}", *overrides])
    except ValueError as error:
        raise ValueError(f"{row}: {error}") from error


def compose_rows(
    names: Sequence[str],
    overrides: Sequence[str],
    own: Mapping[str, list[str]] | None = None,
) -> list[Row]:
    """Every row with every combination of the overrides (seed=1,2,3 makes three of each).

    An option adapter.KEY applies to the rows whose method has that KEY; one that no row has is an
    error, as any other bad override is (ValueError). own: further overrides of single rows, which
    give way to `overrides`.
    """
    check_unread(overrides, OF_ONE_RUN, "rows come from their table; choose some with --rows")
    own = own or {}
    options = {name: _adapter_options(name) for name in names}
    rows = []
    for combination in expand(overrides):
        applies = {n: [o for o in combination if _applies(o, options[n])] for n in names}
        unused = [o for o in combination if not any(o in kept for kept in applies.values())]
        for name, kept in applies.items():
            kept = [o for o in combination if o in kept or o in unused]  # the unused one is refused
            kept = [*own.get(name, ()), *kept]  # of two for one key the last counts
            rows.append(Row(name, kept, compose_row(name, kept)))
    return rows


def _adapter_options(row: str) -> set[str]:
    return set(settings_of(row)["adapter"])


def _applies(override: str, adapter_options: set[str]) -> bool:
    group, _, option = key_of(override).partition(".")
    return group != "adapter" or not option or option in adapter_options


def split_launcher(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """(overrides of the rows, Hydra's own), with the launcher's plugin looked up.

    Raises ValueError for an option of Hydra without a launcher, and for a launcher whose plugin is
    not installed.
    """
    of_hydra = [o for o in overrides if o.startswith(("hydra/", "hydra."))]
    if of_hydra and not any(o.startswith("hydra/launcher=") for o in of_hydra):
        raise ValueError(
            f"{of_hydra[0]} needs a launcher; add hydra/launcher=joblib, or leave it out"
        )
    check_launcher(of_hydra)
    return [o for o in overrides if o not in of_hydra], of_hydra


def check_launcher(arguments: Sequence[str]) -> None:
    """ValueError if hydra/launcher=NAME among `arguments` needs a plugin that is not installed, or
    if a sweep is to be run by several processes of one `accelerate launch`."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and SWEEP & {*arguments}:
        raise ValueError(
            "accelerate launch trains one run in several processes; leave -m out and start the "
            "runs one by one"
        )
    for argument in arguments:
        key, _, name = argument.partition("=")
        if key == "hydra/launcher" and name in LAUNCHERS:
            module, package = LAUNCHERS[name]
            if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{module}") is None:
                raise ValueError(
                    f"{argument} needs the package {package}, which is not installed; "
                    "run: python -m pip install -r requirements-launchers.txt"
                )
            if name == "submitit_slurm" and shutil.which("srun") is None:
                raise ValueError(f"{argument} needs a Slurm cluster; there is no srun here")
