"""The first minutes on a GPU are kept whatever happens to a part; each line of the device check
tells a device that computes something else."""

import json
import sys
from argparse import Namespace

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState

from scripts.bench import first_day
from scripts.bench.first_day import Part
from scripts.checks import device
from solo.training import checked


def parts_of(folder) -> dict[str, str]:
    parts = json.loads((folder / "first_day.json").read_text())["parts"]
    return {part["name"]: part["state"] for part in parts}


def test_a_part_that_fails_or_hangs_takes_nothing_from_the_others(tmp_path, monkeypatch):
    count = tmp_path / "count"
    plan = [
        Part("one", 20, ["-c", f"open({str(count)!r}, 'a').write('x')"]),
        Part("fails", 20, ["-c", "print('half a table', flush=True); raise SystemExit(3)"]),
        Part("hangs", 1, ["-c", "import time; print('begun', flush=True); time.sleep(60)"]),
        Part("last", 20, ["-c", "pass"]),
    ]
    monkeypatch.setattr(first_day, "plan", lambda out, share: plan)
    monkeypatch.setattr(sys, "argv", ["first_day.py", "--out", str(tmp_path / "out")])
    assert first_day.main() == 1
    assert parts_of(tmp_path / "out") == {
        "one": "done", "fails": "failed (3)", "hangs": "cut off", "last": "done"
    }  # fmt: skip
    assert (tmp_path / "out" / "fails.log").read_text() == "half a table\n"
    plan[1], plan[2] = Part("fails", 20, ["-c", "pass"]), Part("hangs", 20, ["-c", "pass"])
    assert first_day.main() == 0  # the second call
    assert set(parts_of(tmp_path / "out").values()) == {"done"} and count.read_text() == "x"


def test_a_rehearsal_leaves_the_work_to_be_done(tmp_path, monkeypatch):
    count = tmp_path / "count"
    part = Part("one", 20, ["-c", f"open({str(count)!r}, 'a').write('x')"])
    monkeypatch.setattr(first_day, "plan", lambda out, share: [part])
    for more in (["--share", "0.02"], [], []):
        monkeypatch.setattr(sys, "argv", ["first_day.py", "--out", str(tmp_path), *more])
        assert first_day.main() == 0
    assert count.read_text() == "xx"


def test_what_there_is_no_time_for_is_not_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(first_day, "plan", lambda out, share: [Part("one", 20, ["-c", "pass"])])
    monkeypatch.setattr(sys, "argv", ["first_day.py", "--out", str(tmp_path), "--seconds", "1"])
    first_day.main()
    assert "not begun" in capsys.readouterr().out and not (tmp_path / "first_day.json").exists()


def test_single_parts_and_no_others(tmp_path, monkeypatch, capsys):
    plan = [Part(name, 20, ["-c", "pass"]) for name in ("one", "two", "three")]
    monkeypatch.setattr(first_day, "plan", lambda out, share: plan)
    monkeypatch.setattr(
        sys, "argv", ["first_day.py", "--out", str(tmp_path), "--parts", "three,one"]
    )
    assert first_day.main() == 0 and list(parts_of(tmp_path)) == ["one", "three"]
    monkeypatch.setattr(sys, "argv", ["first_day.py", "--out", str(tmp_path), "--parts", "four"])
    with pytest.raises(SystemExit):
        first_day.main()
    assert "unknown part 'four'; known: one, two, three" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["0", "2", "nan"])
def test_a_share_that_cannot_be_is_refused(tmp_path, monkeypatch, share):
    monkeypatch.setattr(sys, "argv", ["first_day.py", "--out", str(tmp_path), "--share", share])
    with pytest.raises(SystemExit):
        first_day.main()


def test_every_command_of_the_plan_is_there(tmp_path):
    for part in first_day.plan(tmp_path, 1.0):
        assert (first_day.ROOT / part.command[0]).is_file()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return device.World(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("options", [device.SOLO, device.LORA], ids=lambda o: o["name"])
def test_a_device_that_computes_something_else_is_told(world, monkeypatch, options):
    assert device.against_cpu(world, options, "fp32", device.FP32) is None
    gradients_of, calls = checked.gradients_of, []

    def second_is_off(*args):
        loss, *gradients = gradients_of(*args)
        calls.append(loss)
        return [loss, *(1.01 * g if len(calls) == 2 else g for g in gradients)]

    monkeypatch.setattr(checked, "gradients_of", second_is_off)
    assert "a gradient" in device.against_cpu(world, options, "fp32", device.FP32)


def test_other_outputs_and_losses_are_told(world, monkeypatch):
    expected = [[1, 2], [3]] * 4
    answers = iter([expected, [[9]] + expected[1:], expected, [[9]] * 2 + expected[2:]])
    monkeypatch.setattr(device, "beam_search", lambda *args: next(answers))
    assert device.decoding(world) is None  # a tie may fall otherwise
    assert "75%" in device.decoding(world)
    assert device.furthest([1.0, 2.0], [1.0, 2.0005]) is None
    assert "at step 2" in device.furthest([1.0, 2.0], [1.0, 2.1])
    assert device.furthest([1.0], [1.0, 2.0]) == "1 losses instead of 2"


@pytest.fixture
def accelerate_elsewhere(monkeypatch):
    """accelerate as where it finds an accelerator that no variable hides (MPS, XPU)."""
    monkeypatch.setattr(PartialState, "default_device", torch.device("meta"))
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def test_the_cpus_losses_come_from_the_cpu(world, accelerate_elsewhere, monkeypatch):
    monkeypatch.setattr(device, "STEPS", 2)
    monkeypatch.setattr(device, "RECIPE", device.RECIPE | {"max_steps": 2, "warmup_steps": 0})
    found = device.cpu_losses(world)
    assert len(found) == 2 and min(found) > 0


def test_losses_from_elsewhere_are_not_taken_for_the_cpus(world, accelerate_elsewhere, monkeypatch):
    def training(world, name, model):
        model.to("meta")
        return [1.0]

    monkeypatch.setattr(device, "training", training)
    with pytest.raises(RuntimeError, match="the CPU's losses come from meta"):
        device.cpu_losses(world)


def test_why_the_cpu_gave_no_losses_is_told(world, monkeypatch):
    checks, failed = [], Namespace(returncode=1, stdout="", stderr="Trace\nRuntimeError: from mps")
    monkeypatch.setattr(device, "training", lambda *args, **options: [1.0])
    monkeypatch.setattr(device.subprocess, "run", lambda *args, **options: failed)
    device.training_lines(world, lambda path, check: checks.append(check))
    assert checks[0]() == "no losses of the CPU: RuntimeError: from mps"


def test_a_path_that_fails_is_a_line_and_the_rest_goes_on(tmp_path):
    lines = []
    report = device.make_report(lines, tmp_path / "out.json", {"hardware": {}})
    report("fails", lambda: torch.zeros(2) @ torch.zeros(3))
    report("right", lambda: None)
    assert [line.right for line in lines] == [False, True]
    written = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert "RuntimeError" in written[0]["found"] and written[1]["path"] == "right"
