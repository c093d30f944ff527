"""From files and overrides to a typed configuration: Hydra composes, the types refuse."""

import copy
import functools
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from solo.adapters import METHODS
from solo.cli.command import CONFIGS, ROOT, check_experiments, quoted
from solo.cli.hydra_errors import in_one_line
from solo.cli.schema import OF_ENTRY_POINTS, check_name, options_file, register
from solo.files import read_yaml
from solo.options import check
from solo.rows import DATA_DIRS
from solo.runs.config import RunConfig, from_values
from solo.runs.memory import check_memory
from solo.runs.run import make_run
from solo.runs.runner import distinct

register()
OmegaConf.register_new_resolver(  # an empty variable is an unset one
    "folder", lambda variable, default: os.environ.get(variable) or default, replace=True
)
# Options that are paths: of what a command reads, and of what it writes (or finds again).
READ = {"run", "model.path", "evaluate.references", "pretrain.corpus_dir",
        *(f"data.{name}" for name in ("dir", "train_path", "valid_path", "test_path",
                                      "references_path"))}  # fmt: skip
WRITTEN = {"out", "output_dir", "runs_dir", "decode.output", "pretrain.output_dir"}
SWEEP = {"-m", "--multirun"}
FOLDERS = {*DATA_DIRS.values(), "CORPUS_DIR"}  # environment variables that configurations read


def compose_values(overrides: Sequence[str], config_name: str = "config") -> dict[str, Any]:
    """The resolved configuration of configs/CONFIG_NAME.yaml with overrides, as plain values.

    Raises ValueError, in one line, for whatever Hydra or the types refuse.
    """
    try:
        return OmegaConf.to_container(_composed(tuple(overrides), config_name), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(in_one_line(error)) from error


def as_written(overrides: Sequence[str], config_name: str) -> tuple[dict, dict[str, str | None]]:
    """What --help shows: values with their references as they are written, and {group: its file}.

    Of an override with several values the first counts. Raises ValueError as compose_values does.
    """
    overrides = expand(overrides)[0]
    compose_values(overrides, config_name)  # refuses
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(config_name, overrides=overrides, return_hydra_config=True)
    chosen = OmegaConf.to_container(composed.hydra.runtime.choices)
    return OmegaConf.to_container(_composed(tuple(overrides), config_name), resolve=False), chosen


@functools.lru_cache(maxsize=512)
def _composed(overrides: tuple[str, ...], config_name: str) -> DictConfig:
    """The composition; what it refers to is looked up later.

    Hydra reads the files that overrides choose, which takes a tenth of a second, then sets values.
    Files are read once here for all the values that are set on them; what cannot be set is left to
    Hydra, which says why.
    """
    parsed = [_parsed(line) for line in overrides]
    for override in parsed:
        _check_override(override)
    values = [override for override in parsed if not _chooses(override)]
    if any(override.type is not OverrideType.CHANGE or override.package for override in values):
        return _read(overrides, config_name)
    choices = [o for o, override in zip(overrides, parsed, strict=True) if _chooses(override)]
    config = copy.deepcopy(_read(tuple(choices), config_name))
    try:
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value())
    except OmegaConfBaseException:
        return _read(overrides, config_name)
    return config


@functools.lru_cache(maxsize=512)
def _read(overrides: tuple[str, ...], config_name: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(config_name, overrides=list(overrides), return_hydra_config=True)
    method = composed.hydra.runtime.choices.get("adapter")
    with open_dict(composed):
        del composed["hydra"]
    if method is not None and not any("adapter.name=" in line for line in overrides):
        check_name(options_file(CONFIGS, method), composed.adapter.name)
    return composed


def _chooses(override: Override) -> bool:
    """Whether it is one of a group's files, or one of Hydra's own options, that is chosen."""
    key = override.key_or_group
    return (CONFIGS / key).is_dir() or key.startswith(("hydra/", "hydra."))


def _check_override(override: Override) -> None:
    """ValueError for what Hydra would refuse without naming the option, or with a page of names."""
    if override.is_sweep_override():
        raise ValueError(f"{override.input_line} names several values; give one, or add -m")
    key, value = override.key_or_group, override.value()
    check(key != "", f"{override.input_line!r} names no option; write KEY=VALUE")
    if (CONFIGS / key).is_dir() and not override.is_delete():
        words = f"{key} is {value!r}; it must be the name of a file in configs/{key}"
        check(isinstance(value, str), words)
        if key == "experiment":
            check_experiments([value])
        if key == "adapter" and value in METHODS:
            options_file(CONFIGS, value)


def compose_config(overrides: Sequence[str]) -> RunConfig:
    """The configuration that the overrides lead to. Raises ValueError as compose_values does."""
    return from_values(without_entry_options(compose_values(overrides)))


def config_of(cfg: DictConfig) -> RunConfig:
    """The typed configuration of what Hydra composed for a command."""
    values = OmegaConf.to_container(cfg, resolve=True)
    return from_values(without_entry_options(values))


def config_to_train(cfg: DictConfig) -> RunConfig:
    """The same for a command that trains, which takes neither a run nor an MR (ValueError)."""
    refuse(cfg, *OF_ENTRY_POINTS, "decode.output")
    return config_of(cfg)


def refuse(cfg: DictConfig, *options: str) -> None:
    """Raise ValueError for an option that is set and that this command would not read."""
    for option in options:
        value = OmegaConf.select(cfg, option)
        check(not value, f"{option}={value} is for another command; leave it out (--help)")


def without_entry_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without what only the entry points read."""
    return {key: value for key, value in values.items() if key not in OF_ENTRY_POINTS}


def in_checkout(arguments: Sequence[str], sweeping: bool) -> list[str]:
    """A command's arguments as they read in the checkout, which becomes the working directory.

    Configurations name their files from there, so a command does the same in every folder. A path
    on the command line is one from the folder where it was typed, as everywhere, and is taken as
    it is: no sign in it (= , # and the like) is one of Hydra's. Only a command that is `sweeping`
    reads several values in it. So is an MR taken.
    """
    here = Path.cwd()
    for variable in FOLDERS:
        if os.environ.get(variable):
            os.environ[variable] = str(here / os.environ[variable])
    arguments = [_as_typed(argument, here, sweeping) for argument in arguments]
    os.chdir(ROOT)
    return arguments


def _as_typed(argument: str, here: Path, sweeping: bool) -> str:
    key, _, value = argument.partition("=")
    bare = key.lstrip("+")
    if bare == "mr" and value[:1] not in ("", "'", '"'):
        plain = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # no reference to another option
        return f"{key}={quoted(plain)}"
    if bare not in READ | WRITTEN or value in ("", "null") or "${" in value:
        return argument
    paths = [value]
    if value[0] in "'\"" and value[-1] == value[0] and len(value) > 1:
        paths = [value[1:-1].replace("\\" + value[0], value[0])]
    elif sweeping and not os.path.exists(value):
        try:
            paths = [line.partition("=")[2] for [line] in expand([argument])]
        except ValueError:
            pass  # Hydra cannot read it, so it is one path
    if here != ROOT:
        written = bare in WRITTEN
        paths = [str(here / p) if written or os.path.exists(p) else p for p in paths]
    return f"{key}={','.join(map(quoted, paths))}"


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether Hydra reads several values in an argument (a=1,2)."""
    return any(argument in SWEEP or argument.startswith("sweep=") for argument in arguments)


def check_all(arguments: Sequence[str], config_name: str) -> list[RunConfig]:
    """Every configuration that a command's arguments lead to, of runs; ValueError for a bad one.

    Those of a sweep (-m) too, whose bad ones would otherwise show after hours.
    """
    flags = [argument for argument in arguments if argument.startswith("-")]
    if set(flags) - SWEEP:
        return []  # --help and the like
    overrides = [o for o in arguments if o not in flags and not o.startswith(("hydra.", "hydra/"))]
    configs = []
    for combination in expand(with_rates(overrides)) if is_sweep(arguments) else [overrides]:
        values = compose_values(combination, config_name)
        if config_name == "config":
            configs.append(from_values(without_entry_options(values)))
            if values["run"] is None:  # otherwise the run's own configuration counts
                check_memory(configs[-1])
    if len(configs) > 1 and any(config.output_dir for config in configs):
        distinct(map(make_run, configs))
    return configs


def with_rates(overrides: Sequence[str]) -> list[str]:
    """The overrides, and what a file that sweep=NAME names varies beside them."""
    found = list(overrides)
    for _, _, name in (line.partition("=") for line in overrides if line.startswith("sweep=")):
        path = CONFIGS / "sweep" / f"{name}.yaml"
        values = read_yaml(path) if path.is_file() else {}  # Hydra says what is wrong
        params = values.get("hydra", {}).get("sweeper", {}).get("params", {})
        given = {key_of(line) for line in overrides}
        found += [f"{k}={str(v).replace(' ', '')}" for k, v in params.items() if k not in given]
    return found


def key_of(override: str) -> str:
    """The option that an override KEY=VALUE, +KEY=VALUE or ~KEY names."""
    return override.partition("=")[0].lstrip("+~")


def check_unread(overrides: Sequence[str], options: Iterable[str], remedy: str) -> None:
    """Raise ValueError for an override of an option that a command of many runs does not read."""
    for override in overrides:
        key = key_of(override)
        check(key not in options, f"{override} does not belong here; {remedy}")


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """All combinations of the overrides, those with several values (a=1,2) taken one by one.

    Raises ValueError for what is no override, and for one of no value.
    """
    choices = []
    for line in overrides:
        override, values = _parsed(line), [line]
        if override.is_sweep_override():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        check(bool(values), f"{line} matches nothing; name the values, a=1,2")
        choices.append(values)
    return [list(combination) for combination in itertools.product(*choices)]


@functools.cache
def _loader():
    """Hydra's view of configs/, in which glob() looks."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return GlobalHydra.instance().config_loader()


def _parsed(line: str) -> Override:
    """One override as Hydra reads it. Raises ValueError that says how to quote."""
    try:
        [override] = OverridesParser.create(_loader()).parse_overrides([line])
        return override
    except HydraException as error:
        key, equals, value = line.partition("=")
        remedy = f'quote the value: "{key}={quoted(value)}"' if equals else "write KEY=VALUE"
        raise ValueError(f"{line!r} is no override that Hydra can read; {remedy}") from error
