"""What a configuration is composed of, held against Hydra, which reads all files every time."""

import shutil
from dataclasses import dataclass
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

import solo.cli.compose
from solo.adapters import METHODS
from solo.cli.command import CONFIGS
from solo.cli.compose import check_all, compose_values
from solo.cli.hydra_errors import in_one_line
from solo.cli.schema import schema_of

OVERRIDES = [
    [],
    ["seed=3", "seed=4"],  # the last one counts
    ["train.lr=0.1", "train=standin", "train.epochs=null"],  # files first, wherever they stand
    ["experiment=table2/solo_s_r8", "adapter.rank=64", "adapter.sparsity=0.5", "row=null"],
    ["adapter=lora", "experiment=table1/solo_s"],
    ["data=webnlg", "data.dir=/elsewhere", "evaluate.references=${data.test_path}"],
    ["data.sha256={test: abc}"],  # a mapping is merged
    ["train.betas=[0.5,0.9]", "model.path=a b", "mr='name[x, y]'", "decode.output="],
    ["seed='1'", "train.lr=1", "decode.length_penalty=1e0"],  # as the types read them
    ["+adapter.rank=8", "adapter.rank=16"],
    ["~row", "seed=2"],
    ["++row=x", "row=y"],
    ["seed=2", "hydra.run.dir=x"],
    ["adapter.rnk=8", "seed=2"],
    ["nothing=1"],
    ["train.lr=x"],
    ["seed=1.5"],
    ["train.epochs.more=1"],
    ["seed@other=1"],
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_values_are_those_that_hydra_composes_from_all_files_anew(overrides):
    """Also where other values were set on the same files before, and the same refusals."""
    compose_values(["seed=77", "train.betas=[0.1,0.2]"])
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            wanted = OmegaConf.to_container(compose("config", overrides), resolve=True)
    except HydraException as error:
        with pytest.raises(ValueError) as refused:
            compose_values(overrides)
        assert str(refused.value) == in_one_line(error)
    else:
        assert compose_values(overrides) == wanted
        compose_values([*overrides, "seed=77"])["adapter"].clear()
        assert compose_values(overrides) == wanted


def test_options_under_a_name_that_is_not_their_method_s(tmp_path, monkeypatch):
    """A copied file would train the method that it was copied from."""
    shutil.copytree(CONFIGS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(solo.cli.compose, "CONFIGS", tmp_path)
    monkeypatch.setattr(solo.cli.compose, "METHODS", METHODS | {"mine": METHODS["lora"]})
    forget()
    with pytest.raises(ValueError, match=r"mine.yaml is missing; write the options of mine there"):
        compose_values(["adapter=mine"])
    shutil.copy(tmp_path / "adapter/lora.yaml", tmp_path / "adapter/mine.yaml")
    (tmp_path / "experiment/demo/lora.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /adapter: mine\n"
    )
    for line in ("adapter=mine", "experiment=demo/lora"):
        with pytest.raises(ValueError, match=r"mine.yaml has the options of lora; .* must be"):
            compose_values([line])
    forget()


def forget() -> None:
    """What was composed before from the files that were there."""
    for composed in (solo.cli.compose._read, solo.cli.compose._composed):
        composed.cache_clear()


@dataclass(frozen=True)
class Wrong:
    """Options whose types do not say what they are."""

    sizes: int = None
    kind: Literal["a", "b"] = "a"


def test_a_class_of_options_with_a_wrong_type():
    with pytest.raises(ValueError, match="Wrong.kind is a Literal, which Hydra does not know"):
        schema_of("wrong", Wrong)
    Wrong.__annotations__["kind"] = str
    with pytest.raises(ValueError, match="default of .*Wrong.sizes is None; it must be a whole nu"):
        schema_of("wrong", Wrong)


def test_an_experiment_with_another_adapter_names_the_option_that_this_has_not():
    with pytest.raises(ValueError, match="the options set 'sparsity', which lora has not; choose"):
        compose_values(["experiment=table1/solo_s", "adapter=lora"])


def test_a_sweep_of_a_file_is_checked_as_one_of_the_command_line():
    given = ["sweep=lr", "adapter=lora", "model=standin12", "data=demo", "seed=1,2"]
    rates = {config.train.lr for config in check_all(given, "config")}
    assert len(rates) == 6 and len(check_all(given, "config")) == 12
    assert len(check_all([*given, "train.lr=1,2"], "config")) == 4  # those of the command line
