"""From files and overrides to a typed configuration: Hydra composes, the types refuse."""

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from solo.cli.command import CONFIGS, check_experiments
from solo.cli.schema import OF_ENTRY_POINTS, register
from solo.options import check
from solo.runs.config import RunConfig, from_values, to_values
from solo.runs.memory import check_memory
from solo.runs.run import Run, make_run, open_run
from solo.runs.runner import distinct

register()
WORDS = {  # OmegaConf's names of the kinds
    "Integer": "a whole number", "Float": "a number", "Boolean": "true or false",
    "String": "text", "ListConfig": "a list, [a, b]",
}  # fmt: skip


def compose_values(overrides: Sequence[str], config_name: str = "config") -> dict[str, Any]:
    """The resolved configuration of configs/CONFIG_NAME.yaml with overrides, as plain values.

    Raises ValueError, in one line, for whatever Hydra or the types refuse.
    """
    try:
        return OmegaConf.to_container(_composed(tuple(overrides), config_name), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(in_one_line(error)) from error


@functools.lru_cache(maxsize=512)
def _composed(overrides: tuple[str, ...], config_name: str) -> DictConfig:
    """The composition, which takes a tenth of a second; what it refers to is looked up later."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "experiment":
            check_experiments(value.strip("'\"").split(","))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def compose_config(overrides: Sequence[str]) -> RunConfig:
    """The configuration that the overrides lead to. Raises ValueError as compose_values does."""
    return from_values(without_entry_options(compose_values(overrides)))


def config_of(cfg: DictConfig) -> RunConfig:
    """The typed configuration of what Hydra composed for a command."""
    values = OmegaConf.to_container(cfg, resolve=True)
    return from_values(without_entry_options(values))


def without_entry_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without what only the entry points read."""
    return {key: value for key, value in values.items() if key not in OF_ENTRY_POINTS}


def check_all(arguments: Sequence[str], config_name: str) -> None:
    """Compose every configuration that a command's arguments lead to; ValueError for a bad one.

    Those of a sweep (-m) too, whose bad ones would otherwise show after hours.
    """
    flags = [argument for argument in arguments if argument.startswith("-")]
    if set(flags) - {"-m", "--multirun"}:
        return  # --help and the like
    overrides = [o for o in arguments if o not in flags and not o.startswith(("hydra.", "hydra/"))]
    sweeping = flags or any(override.startswith("sweep=") for override in overrides)
    configs = []
    for combination in expand(overrides) if sweeping else [overrides]:
        values = compose_values(combination, config_name)
        if config_name == "config":
            configs.append(from_values(without_entry_options(values)))
            check_memory(configs[-1])
    if len(configs) > 1 and any(config.output_dir for config in configs):
        distinct(map(make_run, configs))


def run_of(cfg: DictConfig) -> Run | None:
    """The trained run that a command works on; None for the bare backbone, which needs no run.

    With run=DIR the run there, its data and its decoding changed by what the command line
    overrides; without, the run that the composed configuration leads to. Raises FileNotFoundError
    for one that is not trained, ValueError for an override of what is trained already.
    """
    config = config_of(cfg)
    if cfg.run is None:
        if config.method == "none" and (config.decode.output or cfg.mr):
            return None
        return open_run(make_run(config).directory, config)
    run = open_run(Path(cfg.run))
    values, given = to_values(run.config), to_values(config)
    for override in HydraConfig.get().overrides.task:
        key = override.split("=", 1)[0].lstrip("+~")
        group, _, option = key.partition(".")
        if key in ("model", "seed") or group in ("adapter", "train"):
            raise ValueError(f"{override}: a trained run keeps its {key}; train another run")
        if group in ("data", "decode", "evaluate", "model") and option:
            values[group][option.split(".")[0]] = given[group][option.split(".")[0]]
        elif key in ("data", "decode", "evaluate"):
            values[key] = given[key]
        if group == "data":  # the references come with the data
            values["evaluate"] = given["evaluate"]
    return open_run(run.directory, from_values(values))


def in_one_line(error: BaseException) -> str:
    """What an error of Hydra or OmegaConf says, with key, value and what is allowed."""
    cause = error.__cause__ or error
    text = str(cause)
    key = re.search(r"full_key: (\S+)", text)
    kind = re.search(r"could not be converted to (\w+)", text) or re.search(
        r"incompatible with type hint '(\w+)", text
    )
    value = re.search(r"Value '(.*?)' of type", text) or re.search(r"Value '(.*?)'", text)
    if key and kind and value:
        return f"{key[1]} is {value[1]}; it must be {WORDS.get(kind[1], kind[1])}"
    if key and "is not a ListConfig" in text:
        return f"{key[1]} must be a list, [a, b]"
    if key and "not Optional" in text:
        return f"{key[1]} is null; it needs a value"
    choice = re.search(
        r"Could not find '([\w/]+)'\s+Available options in '[\w/]+':(.*?)Config search", text, re.S
    )
    if choice:
        group, _, name = choice[1].rpartition("/")
        known = [option for option in choice[2].split() if not option.endswith("_schema")]
        return f"{group} is {name!r}; known: {', '.join(known)}"
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown:
        return f"{unknown[1]} is no option; `--help` lists them"
    return " ".join(dict.fromkeys(" ".join(str(e).split()) for e in (error, cause)))


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """All combinations of the overrides, those with several values (a=1,2) taken one by one.

    Raises ValueError for what is no override, and for one of no value.
    """
    choices = []
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()  # glob() looks into the groups
        for override in OverridesParser.create(loader).parse_overrides(list(overrides)):
            key, values = override.get_key_element(), [override.input_line]
            if override.is_sweep_override():
                values = [f"{key}={value}" for value in override.sweep_string_iterator()]
            check(bool(values), f"{override.input_line} matches nothing; name the values, a=1,2")
            choices.append(values)
    except HydraException as error:
        raise ValueError(in_one_line(error)) from error
    return [list(combination) for combination in itertools.product(*choices)]
