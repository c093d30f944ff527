"""Options are typed once, and what is wrong is one line with key, value and what is allowed."""

import re
from dataclasses import dataclass, fields, replace

import pytest
import yaml

from solo import files
from solo.options import make
from solo.runs.config import from_values, to_values
from solo.runs.run import read_config
from solo.training.recipe import TrainConfig

BAD = [  # (group, option, value, what the line says)
    ("train", "batch_size", 1.5, "train.batch_size is 1.5; it must be a whole number"),
    ("train", "batch_size", True, "train.batch_size is True; it must be a whole number"),
    ("train", "lr", "fast", "train.lr is 'fast'; it must be a number"),
    ("train", "lr", float("nan"), "train.lr is nan; it must be a finite number"),
    ("train", "lr", float("inf"), "train.lr is inf; it must be a finite number"),
    ("train", "betas", [0.9], "train.betas is [0.9]; it must have 2 entries"),
    ("train", "betas", [0.9, 1], "train.betas is [0.9, 1.0]; both must be in [0, 1)"),
    ("train", "betas", "0.9,0.999", "train.betas is '0.9,0.999'; it must be a list of numbers"),
    ("train", "betas", ["a", 0.9], "train.betas[0] is 'a'; it must be a number"),
    ("train", "eps", -1.0, "train.eps is -1.0; at least 0"),
    ("train", "weight_decay", -1, "train.weight_decay is -1; at least 0"),
    ("model", "path", "", "model.path is empty; name a directory, or a model on the hub"),
    ("train", "epochs", 0, "train.epochs is 0; at least 1"),
    ("train", "speed", 3, "train.speed is no option; the options are: batch_size, epochs,"),
    ("decode", "beam", 0, "beam=0: give a whole number of at least 1"),
    ("model", "path", 7, "model.path is 7; it must be text"),
    ("adapter", "rank", 0, "adapter.rank is 0; it must be at least 1"),
    ("adapter", "rank", None, "adapter.rank is None; it must be a whole number"),
    ("adapter", "rnk", 8, "adapter solo has no option 'rnk'; its options: variant, rank"),
    (None, "seed", 1.5, "seed is 1.5; it must be a whole number"),
    (None, "seed", -1, "seed is -1; it must be from 0 to 4294967295"),
    (None, "sede", 1, "sede is no option; the options are: seed, row, runs_dir"),
    (None, "train", None, "train is None; it must be a mapping of options"),
]


@pytest.mark.parametrize(("group", "option", "value", "line"), BAD)
def test_what_is_wrong_is_one_line(values, group, option, value, line):
    target = values if group is None else values[group]
    target[option] = value
    with pytest.raises(ValueError, match=re.escape(line)) as caught:
        from_values(values)
    assert "\n" not in str(caught.value)


def test_a_number_that_yaml_reads_as_text(values):
    values["train"]["lr"] = yaml.safe_load("1e-3")
    assert values["train"]["lr"] == "1e-3"  # so YAML 1.1 has it
    assert from_values(values).train.lr == 0.001


def test_a_stored_configuration_is_data(values, tmp_path, monkeypatch):
    """No variable is looked up for a stranger's run, and a small file makes no large value."""
    monkeypatch.setenv("SECRET", "s3cret")
    values["data"]["train_path"] = "${oc.env:SECRET}"
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    assert read_config(file).data.train_path == "${oc.env:SECRET}"
    bomb = ["a: &l0 [x]", *(f"l{i}: &l{i} [{f'*l{i - 1}, ' * 9}]" for i in range(1, 30))]
    file.write_text("\n".join(bomb))
    with pytest.raises(ValueError, match=f"{file} is damaged .it has aliases"):
        read_config(file)


def test_a_missing_value_and_a_missing_group(values):
    del values["model"]["path"]
    with pytest.raises(ValueError, match="model.path is missing; it has no default"):
        from_values(values)
    del values["model"]
    with pytest.raises(ValueError, match="has no group 'model'; it needs all of them"):
        from_values(values)


def test_values_and_configuration_are_each_others_inverse(config, tmp_path):
    again = from_values(to_values(config))
    assert again == config and to_values(again) == to_values(config)
    files.write_text(tmp_path / "config.yaml", files.to_yaml(to_values(config)))
    assert from_values(yaml.safe_load((tmp_path / "config.yaml").read_text())) == config


def test_every_option_of_the_configuration_is_in_its_values(config):
    values = to_values(config)
    for group in ("model", "data", "train", "decode", "evaluate", "adapter"):
        names = {option.name for option in fields(getattr(config, group))}
        assert names == set(values[group]) - {"name"} | ({"name"} & names), group
    with pytest.raises(AttributeError):
        config.seed = 3  # nothing changes a configuration on the way
    assert replace(config, seed=3).seed == 3


def test_kinds_by_type_hint():
    @dataclass(frozen=True)
    class Options:
        names: tuple[str, ...] = ()
        size: int | None = None
        rate: float = 0.0
        sums: dict[str, str | None] | None = None

    made = make(Options, {"names": ["a"], "size": None, "rate": 1, "sums": {"a": None}}, "x")
    assert made == Options(("a",), None, 1, {"a": None})
    for name, value in (("size", "3"), ("size", False), ("rate", None), ("names", 3), ("sums", 1)):
        with pytest.raises(ValueError, match=f"x.{name} is {value!r}; it must be"):
            make(Options, {name: value}, "x")


def test_a_whole_number_in_a_list_of_numbers_is_one_of_them():
    """torch takes betas that are both floats."""
    betas = make(TrainConfig, {"betas": [0, 0.999]}).betas
    assert betas == (0.0, 0.999) and isinstance(betas[0], float)
