"""What a tracker is sent is what the log holds."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from solo.training.loop import LOG
from solo.training.tracking import check_tracker
from tests.solo.training.test_train import run


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
