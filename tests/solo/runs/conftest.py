"""A run's configuration in miniature, on a tiny backbone and generated data."""

from dataclasses import replace

import pytest

from solo.runs.config import RunConfig, from_values
from solo.standin.demo_data import write_demo_data

SIZES = {"train_rows": 12, "valid_rows": 4, "test_mrs": 3}


@pytest.fixture
def values(tmp_path, checkpoint_dir) -> dict:
    """A configuration as plain values."""
    folder = tmp_path / "data"
    write_demo_data(folder, **SIZES)
    paths = {f"{s}_path": str(folder / f"lora_format/{s}.txt") for s in ("train", "valid", "test")}
    return {
        "model": {"path": str(checkpoint_dir), "revision": None},
        "data": {"name": "e2e", "dir": str(folder), **paths, "sha256": {},
                 "references_path": paths["test_path"]},
        "adapter": {"name": "solo", "rank": 4, "sparsity": 0.4},
        "train": {"batch_size": 4, "epochs": 1, "warmup_steps": 1, "log_every": 1},
        "decode": {"beam": 2, "max_new_tokens": 5, "batch_size": 2},
        "evaluate": {"references": paths["test_path"]},
        "seed": 1, "runs_dir": str(tmp_path / "runs"),
    }  # fmt: skip


@pytest.fixture
def config(values) -> RunConfig:
    return from_values(values)


def changed(config: RunConfig, **groups) -> RunConfig:
    """`config` with other values: train={"lr": 1}, seed=2, adapter={"rank": 5}."""
    for name, value in groups.items():
        value = replace(getattr(config, name), **value) if isinstance(value, dict) else value
        config = replace(config, **{name: value})
    return config


def quiet(done, total, info=None):
    pass


def never(done, total, info=None):
    raise AssertionError("a stage that is done was run again")
