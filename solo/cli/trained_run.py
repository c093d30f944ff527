"""The trained run that a command works on, with what its command line says otherwise."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from solo.backbones.loading import fingerprint, load_backbone, resolve
from solo.cli.compose import config_of, key_of
from solo.cli.schema import OF_ENTRY_POINTS
from solo.options import check
from solo.runs import checkpoint
from solo.runs.config import ModelConfig, from_values, to_values
from solo.runs.memory import check_memory
from solo.runs.run import Run, make_run, open_run

OF_A_RUN = ("data", "decode", "evaluate", "model")  # groups that a command changes in a trained run


def run_of(cfg: DictConfig) -> Run | None:
    """The trained run that a command works on; None for the bare backbone, which needs no run.

    With run=DIR the run there, its data and its decoding changed by what the command line
    overrides; without, the run that the composed configuration leads to. Raises FileNotFoundError
    for one that is not trained, ValueError for an override of what is trained already.
    """
    config = config_of(cfg)
    if cfg.run is None:
        check_memory(config)
        if config.method == "none" and (config.decode.output or cfg.mr):
            return None
        return open_run(make_run(config).directory, config)
    run = open_run(Path(cfg.run))
    values, given = to_values(run.config), to_values(config)
    for override in HydraConfig.get().overrides.task:
        key = key_of(override)
        if key in OF_ENTRY_POINTS:
            continue
        group, _, option = key.partition(".")
        if key in ("model", "seed") or group in ("adapter", "train"):
            raise ValueError(f"{override}: a trained run keeps its {key}; train another run")
        check(
            group in OF_A_RUN,
            f"{override}: with run=DIR the configuration of that run counts; leave it out",
        )
        if option:
            _override(values, given, group, option)
            continue
        values[key] = given[key]
        if key == "data":  # the references come with the data
            values["evaluate"] = given["evaluate"]
    changed = from_values(values)
    check_memory(changed)
    if changed.model != run.config.model:
        _check_weights(run, changed.model)
    return open_run(run.directory, changed)


def _check_weights(run: Run, model: ModelConfig) -> None:
    """ValueError for another backbone than the run's: what is decoded already is loaded no more."""
    found = fingerprint(load_backbone(resolve(model.path, model.revision)))
    check(
        found == checkpoint.read_saved(run.directory)["backbone_sha256"],
        f"{run.directory} was trained on another backbone than {model.path}; leave model.path out, "
        "or name that one",
    )


def _override(values: dict, given: dict, group: str, option: str) -> None:
    """Take one option over into a run's values from those given on a command line.

    In a run paths are whole, so a new data.dir moves those below the old one. The references follow
    the file of the data that they are.
    """
    data, evaluate = values["data"], values["evaluate"]
    before = dict(data)
    name, _, part = option.partition(".")
    if part:  # data.sha256.test
        values[group][name] = {**values[group][name], part: given[group][name][part]}
        return
    values[group][name] = given[group][name]
    if group == "data" and name == "dir":
        for other in [key for key in data if key.endswith("_path")]:
            if Path(data[other]).is_relative_to(before["dir"]):
                inside = Path(data[other]).relative_to(before["dir"])
                data[other] = str(Path(data["dir"]) / inside)
    if name == "test_path" and before["references_path"] == before["test_path"]:  # one's own data
        data["references_path"] = data["test_path"]
    if group == "data" and evaluate["references"] in before.values():
        [*_, same] = (key for key in before if before[key] == evaluate["references"])
        evaluate["references"] = data[same]
