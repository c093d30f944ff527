"""A sweep's runs: each in its own directory, together where they can, found when done."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from solo.runs import checkpoint, record, run
from solo.runs import together as sweep
from solo.training.state import STATE
from tests.solo.test_run import config, never, quiet  # noqa: F401


@pytest.fixture
def configs(config) -> list[dict]:  # noqa: F811
    adapters = [
        ({"name": "solo", "rank": 4, "sparsity": 0.4, "dropout": 0.0}, 1e-2, 1),
        ({"name": "solo", "rank": 7, "sparsity": 0.0, "dropout": 0.0}, 1e-3, 2),
        ({"name": "lora", "rank": 2, "dropout": 0.0}, 1e-2, 1),
        ({"name": "full"}, 1e-3, 1),
        ({"name": "none"}, 1e-3, 1),
    ]
    made = []
    for adapter, lr, seed in adapters:
        one = copy.deepcopy(config) | {"adapter": adapter, "seed": seed}
        one["train"]["lr"] = lr
        made.append(one)
    return made


def test_a_sweep_is_its_runs(configs, tmp_path):
    (group,) = sweep.groups(configs)
    paths = sweep.train_group(group, quiet, lambda one: run.train_run(one, quiet))
    assert [path.name.split("-")[0] for path in paths] == ["solo", "solo", "lora", "full", "none"]
    records = [record.stage_record(path, "train") for path in paths]
    assert [entry.get("together") for entry in records] == [3, 3, 3, None, None]
    for one, path, entry in zip(configs, paths, records, strict=True):
        alone = run.train_run(one | {"runs_dir": str(tmp_path / "alone")}, quiet)
        assert {p.name for p in path.iterdir()} == {p.name for p in alone.iterdir()}
        assert alone.name == path.name
        expected = record.stage_record(alone, "train")
        for key in ("steps", "planned_steps", "n_params", "identity", "backbone"):
            assert entry[key] == expected[key], key
        assert entry["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-4)
        ours, theirs = (load_file(folder / checkpoint.WEIGHTS) for folder in (path, alone))
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)
    again = sweep.train_group(group, never, lambda one: run.train_run(one, never))
    assert again == paths


def test_what_differs_more_is_another_group(configs):
    first, second = configs[:2]
    for group, key, value in (
        ("train", "batch_size", 2),
        ("train", "max_steps", 2),
        ("data", "valid_path", first["data"]["train_path"]),
    ):
        changed = copy.deepcopy(second)
        changed[group][key] = value
        assert len(sweep.groups([first, changed])) == 2, key
    assert len(sweep.groups([first, second])) == 1


def test_a_sweep_goes_on_where_it_was_killed(configs, tmp_path):
    for one in configs:
        one["train"] |= {"save_every": 1}
    (group,) = sweep.groups(configs[:3])
    kept = [one | {"runs_dir": str(tmp_path / "whole")} for one in group]
    whole = sweep.train_group(kept, quiet, lambda one: run.train_run(one, quiet))

    def kill(done, total, info):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.train_group(group, kill, lambda one: run.train_run(one, never))
    paths = sweep.train_group(group, quiet, lambda one: run.train_run(one, never))
    for path, other in zip(paths, whole, strict=True):
        assert (path / checkpoint.WEIGHTS).read_bytes() == (other / checkpoint.WEIGHTS).read_bytes()
        assert not (path / STATE).exists()


def test_one_that_diverges_leaves_the_others_together(configs):
    configs[1]["train"] |= {"lr": 1e30, "warmup_steps": 0}
    failed = []

    def alone(one: dict):
        try:
            return run.train_run(one, quiet)
        except FloatingPointError:
            failed.append(one)

    paths = sweep.train_group(configs[:3], quiet, alone)
    assert failed == [configs[1]] and paths[1] is None
    records = [record.stage_record(path, "train") for path in (paths[0], paths[2])]
    assert [entry["together"] for entry in records] == [2, 2]


def test_a_schedule_that_does_not_fit_stops_its_run_alone(configs):
    bad = configs[2] | {"adapter": {"name": "mergelor2c", "rank": 2, "interval": 1000}}
    errors = []

    def alone(one):
        try:
            return run.train_run(one, quiet)
        except ValueError as error:
            errors.append(str(error))

    paths = sweep.train_group([configs[0], bad, configs[2]], quiet, alone)
    assert [path and path.name.split("-")[0] for path in paths] == ["solo", None, "lora"]
    [error] = errors
    assert error.startswith("the schedule does not fit: 1 times merge, every 1000 steps")
