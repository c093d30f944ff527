"""Table rows as configurations, and which of them share a run."""

import functools
import itertools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eval.tables.lines import load_reported
from solo.cli.command import CONFIGS, PAPER_TABLES, check_experiments
from solo.runs import run

LAUNCHERS = {  # hydra/launcher=NAME: (module, package)
    "joblib": ("hydra_joblib_launcher", "hydra-joblib-launcher"),
    "submitit_slurm": ("hydra_submitit_launcher", "hydra-submitit-launcher"),
    "submitit_local": ("hydra_submitit_launcher", "hydra-submitit-launcher"),
}
SETTINGS = ("model", "data", "adapter", "train", "decode")  # that a row decides


@dataclass(frozen=True)
class Row:
    """A row to run: its name, the overrides that apply to it, its resolved configuration, and a
    label that tells it from the row's other runs of a sweep."""

    name: str
    overrides: list[str]
    config: dict
    label: str


def tables_named(name: str) -> list[str]:
    """`name` itself, or Tables 1 to 6 for `all`."""
    return list(PAPER_TABLES) if name == "all" else [name]


def row_names(tables: Iterable[str], chosen: str | None) -> list[str]:
    """The rows of `tables`; of them those `chosen` (comma-separated, with or without the table).

    Raises ValueError for an unknown one.
    """
    reported = load_reported()
    known = [row["row"] for table in tables for row in reported[table]["rows"]]
    if chosen is None:
        return known
    names = []
    for part in chosen.split(","):
        found = [row for row in known if part in (row, row.split("/", 1)[1])]
        if not found:
            raise ValueError(f"unknown row {part!r}; known: {', '.join(known)}")
        names += found
    return names


def own_overrides(tables: Iterable[str]) -> dict[str, list[str]]:
    """{row: overrides} of the tables that run their rows elsewhere than the experiment files say
    (the family on the demo's backbone): the table's, then the row's own."""
    own, reported = {}, load_reported()
    for table in tables:
        given = reported[table].get("overrides", [])
        for row in reported[table]["rows"] if given else []:
            options = [f"{key}={value}" for key, value in row.get("demo", {}).items()]
            own[row["row"]] = [*given, *options]
    return own


def compose_row(row: str, overrides: list[str]) -> dict:
    """The resolved configuration of a table row. Raises ValueError for a bad override."""
    check_experiments([row])
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("config", overrides=[f"experiment={row}", *overrides])
            return OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{row}: {' '.join(str(error).split())}") from error


def row_settings(names: Iterable[str]) -> dict[str, dict]:
    """{row: {"model": {...}, "data": ..., "adapter": ..., "train": ..., "decode": ...}}: what the
    experiment files ask of these rows, interpolations as written.

    Raises ValueError for an unknown row.
    """
    return {name: _row_settings(name) for name in names}


@functools.cache
def _row_settings(name: str) -> dict:
    check_experiments([name])
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", overrides=[f"experiment={name}"]))
    return {group: composed[group] for group in SETTINGS}


def compose_rows(
    names: list[str], overrides: list[str], own: dict[str, list[str]] | None = None
) -> list[Row]:
    """Every row with every combination of the overrides (seed=1,2,3 makes three of each).

    An option adapter.KEY applies to the rows whose method has that KEY; one that no row has is an
    error, as any other bad override is (ValueError). own: further overrides of single rows, which
    give way to `overrides`.
    """
    rows = []
    for combination in expand(overrides):
        applies = {name: [o for o in combination if _applies(o, name)] for name in names}
        unused = [o for o in combination if not any(o in kept for kept in applies.values())]
        for name, kept in applies.items():
            kept = [o for o in combination if o in kept or o in unused]  # the unused one is refused
            label = " ".join([name, *(o for o in kept if o not in overrides)])
            kept = [*(own or {}).get(name, ()), *kept]  # of two for one key the last counts
            rows.append(Row(name, kept, compose_row(name, kept), label))
    return rows


def _applies(override: str, row: str) -> bool:
    key = override.split("=", 1)[0]
    group, _, option = key.partition(".")
    return group != "adapter" or not option or option in row_settings([row])[row]["adapter"]


def expand(overrides: list[str]) -> list[list[str]]:
    """All combinations of the overrides, those with several values (a=1,2) taken one by one."""
    choices = []
    try:
        for override in OverridesParser.create().parse_overrides(overrides):
            values = override.sweep_string_iterator() if override.is_sweep_override() else None
            key = override.get_key_element()
            line = override.input_line
            choices.append([line] if values is None else [f"{key}={value}" for value in values])
    except HydraException as error:
        raise ValueError(" ".join(str(error).split())) from error
    return [list(combination) for combination in itertools.product(*choices)]


def by_directory(rows: list[Row]) -> dict[Path, list[Row]]:
    """The rows that one run fills, by its directory: rows with the same configuration share it."""
    shared: dict[Path, list[Row]] = {}
    for row in rows:
        directory = run.run_directory(row.config, run.identity(row.config))
        shared.setdefault(directory, []).append(row)
    return shared


def split_launcher(overrides: list[str]) -> tuple[list[str], list[str]]:
    """(overrides of the rows, Hydra's own), with the launcher's plugin looked up.

    Raises ValueError for an option of Hydra without a launcher, and for a launcher whose plugin is
    not installed.
    """
    hydra = [o for o in overrides if o.startswith(("hydra/", "hydra."))]
    if hydra and not any(o.startswith("hydra/launcher=") for o in hydra):
        raise ValueError(f"{hydra[0]} needs a launcher; add hydra/launcher=joblib, or leave it out")
    check_launcher(hydra)
    return [o for o in overrides if o not in hydra], hydra


def check_launcher(arguments: list[str]) -> None:
    """ValueError if hydra/launcher=NAME among `arguments` needs a plugin that is not installed."""
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
