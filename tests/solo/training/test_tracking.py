"""What a tracker is sent is what the log holds."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from tensorboardX.proto.event_pb2 import Event

from solo.run_files import LOG
from solo.training.log import Log
from solo.training.tracking import check_tracker, tracked
from tests.solo.training.test_train import run

RATES = {"one": 0.1, "two": 0.2}


def events(path: Path) -> Iterator[Event]:
    """The records of an event file: length (8 bytes), checksum (4), content, checksum (4)."""
    content = path.read_bytes()
    while content:
        end = 12 + int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12:end])
        content = content[end + 4 :]


def scalars(directory: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, event.step): value.simple_value
        for path in directory.rglob("events.out.tfevents.*")
        for event in events(path)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def test_tensorboard_gets_the_numbers_of_the_log_and_the_run_stays_the_same(tmp_path):
    plain, _ = run(tmp_path / "plain")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "tracked", stop_at=5, save_every=2, tracker="tensorboard")
    time.sleep(1.1)  # tensorboardX names its file by the second
    ours, _ = run(tmp_path / "tracked", save_every=2, tracker="tensorboard")
    assert all(torch.equal(ours[name], plain[name]) for name in plain)
    lines = [json.loads(line) for line in (tmp_path / "tracked" / LOG).read_text().splitlines()]
    expected = {
        (key, line["step"]): value for line in lines for key, value in line.items() if key != "step"
    }
    assert len(expected) > 20 and not (tmp_path / "plain/tensorboard").exists()
    found = scalars(tmp_path / "tracked/tensorboard")
    assert {key: found[key] for key in expected} == pytest.approx(expected)


def test_an_unknown_tracker_and_one_without_its_package_are_one_line(monkeypatch):
    with pytest.raises(ValueError, match="'mlflow'; known: none, tensorboard, wandb, trackio"):
        check_tracker("mlflow")
    monkeypatch.setattr("solo.training.tracking.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package wandb; run: pip install wandb"):
        check_tracker("wandb")
    check_tracker("none")


class Wandb(ModuleType):
    """As wandb 0.31 does, which was tried offline: a second run is the first one unless asked."""

    def __init__(self):
        super().__init__("wandb")
        self.runs, self.config = [], None

    def init(self, config=None, reinit="default", **options):
        if not self.runs or reinit == "create_new":
            sent = []
            self.runs.append(
                SimpleNamespace(
                    **options,
                    config=config,
                    sent=sent,
                    log=lambda values, step: sent.append((step, values)),
                    finish=lambda: None,
                )
            )
        return self.runs[-1]


def test_each_of_runs_together_has_a_run_of_wandb(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("solo.training.tracking.find_spec", lambda name: True)
    PartialState()  # accelerate's trackers ask which process they are in
    runs = {tmp_path / name: (Log(tmp_path / name, True), {"lr": lr}) for name, lr in RATES.items()}
    with tracked(runs, "wandb"):
        for log, recipe in runs.values():
            log.write({"step": 1, "loss": recipe["lr"] * 10})
    assert [(run.id, run.config, run.sent) for run in wandb.runs] == [
        (name, {"lr": lr}, [(1, {"loss": lr * 10})]) for name, lr in RATES.items()
    ]
