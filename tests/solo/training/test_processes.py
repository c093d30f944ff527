"""Two processes that share each batch train as one does (gloo, CPU).

`accelerate launch` starts torch.distributed.run for several GPUs; on CPUs it wants MPI, so the
tests start torch.distributed.run themselves.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from solo.run_files import LOG, SCORES, STATE
from solo.standin.demo_data import write_demo_data
from solo.training.state import read_counters
from tests.solo.training import two_processes

ROOT = Path(__file__).resolve().parents[3]
needs_gloo = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)


def launch(*arguments) -> str:
    """Run a script in two processes; returns its standard output."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    if torch.accelerator.is_available():  # else nothing needs to be said
        env |= {"ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def log_of(directory: Path) -> list[dict]:
    lines = (directory / LOG).read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "tokens_per_s"} for x in lines]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("both")
    launch(ROOT / "tests/solo/training/two_processes.py", out)
    return out


@needs_gloo
@pytest.mark.parametrize("name", ["solo", "lora", "mpc_o", "full"])
def test_losses_and_parameters_are_those_of_one_process(both, tmp_path, name):
    """With dropout; 21 examples in batches of 4 leave the second process without a share."""
    alone = two_processes.run(tmp_path, two_processes.METHODS[name])
    ours, expected = log_of(both / name), log_of(tmp_path)
    assert len(ours) == len(expected) == 14  # 12 steps, 2 validations
    for line, wanted in zip(ours, expected, strict=True):
        assert line == pytest.approx(wanted, rel=2e-4)
    first, second = (load_file(both / f"{name}.{rank}.safetensors") for rank in (0, 1))
    for key, value in alone.items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value, rtol=1e-3, atol=1e-4)


@needs_gloo
def test_every_process_leaves_the_others_before_python_ends(both):
    """Else gloo's threads outlive Python's lock, and the process is aborted now and then."""
    assert [(both / f"left.{rank}").read_text() for rank in (0, 1)] == ["True", "True"]


@needs_gloo
def test_a_run_killed_in_two_processes_ends_bit_for_bit_the_same(both):
    for rank in (0, 1):
        whole, again = (load_file(both / f"{n}.{rank}.safetensors") for n in ("lora", "killed"))
        assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert log_of(both / "lora") == log_of(both / "killed")


@needs_gloo
def test_what_two_processes_began_one_finishes(both):
    assert read_counters(both / "left" / STATE)["step"] == 6
    found = two_processes.run(both / "left", two_processes.METHODS["lora"], save_every=3)
    expected = load_file(both / "lora.0.safetensors")
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


@needs_gloo
def test_the_command_in_two_processes_writes_once(tmp_path, checkpoint_dir):
    write_demo_data(tmp_path / "data", train_rows=12, valid_rows=4, test_mrs=3)
    shown = launch(
        "scripts/train.py", "experiment=demo/lora", f"model.path={checkpoint_dir}",
        f"data.dir={tmp_path}/data", f"runs_dir={tmp_path}/runs", "train.max_steps=2",
        "train.log_every=1", "train.warmup_steps=1",
    )  # fmt: skip
    [run_dir] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert shown.splitlines() == [str(run_dir)]
    assert [line["step"] for line in log_of(run_dir)] == [1, 2, 2]
    assert json.loads((run_dir / "rows.json").read_text()) == ["demo/lora"]
    assert json.loads((run_dir / "environment.json").read_text())["train"]["processes"] == 2


@needs_gloo
def test_a_sweep_in_two_processes_is_run_in_turn(tmp_path, checkpoint_dir):
    """`sweep=lr` is one without -m, which two processes refuse."""
    write_demo_data(tmp_path / "data", train_rows=12, valid_rows=4, test_mrs=3)
    launch(
        "scripts/run.py", "sweep=lr", "experiment=demo/lora", f"model.path={checkpoint_dir}",
        f"data.dir={tmp_path}/data", f"runs_dir={tmp_path}/runs", "train.max_steps=1",
        "train.warmup_steps=0", "train.lr=1e-3,1e-2", "decode.beam=1", "decode.max_new_tokens=2",
    )  # fmt: skip
    entries = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/environment.json")]
    assert [entry["train"]["processes"] for entry in entries] == [2, 2]
    assert len([*(tmp_path / "runs").glob(f"*/decode/*/{SCORES}")]) == 2
