"""The learning rate is chosen by validation loss alone, among runs that differ in nothing else."""

import json
from pathlib import Path

import pytest
import yaml

from solo import files
from solo.cli import tuning as tune
from solo.runs import record
from solo.standin.demo_data import write_demo_data
from solo.training.log import Log

ROOT = Path(__file__).resolve().parent.parent.parent


def make_run(
    runs: Path, lr: float, seed: int, losses: list[float], rank: int = 4, precision="fp32"
) -> Path:
    """A run directory as training leaves it: a line per log step and per validation."""
    directory = runs / f"lora-{lr}-{seed}-{rank}-{precision}"
    recipe = {"lr": lr, "epochs": 2, "precision": precision}
    training = {"adapter": {"name": "lora", "rank": rank}, "train": recipe}
    training |= {"model": {"path": "gpt2"}, "data": {"train": "aa", "valid": "bb"}, "seed": seed}
    files.write_json(directory / "identity.json", {"training": training, "test": "cc"})
    files.write_json(directory / "rows.json", [f"table9/lora_r{rank}"])
    log = Log(directory / "train_log.jsonl")
    for step, loss in enumerate(losses, 1):
        log.write({"step": step, "loss": 0.01})
        log.write({"step": step, "valid_loss": loss})
    with record.stage(directory, "train") as entry:
        entry |= {"backbone": {"path": "gpt2"}, "steps": len(losses)}
    return directory


def test_the_rate_with_the_lowest_last_validation_loss(tmp_path):
    make_run(tmp_path, 1e-4, 1, [3.0, 2.6])
    make_run(tmp_path, 1e-4, 2, [3.0, 2.4])  # mean of the last: 2.5
    make_run(tmp_path, 5e-4, 1, [2.9, 2.2])
    make_run(tmp_path, 5e-4, 2, [2.9, 2.6])  # 2.4, the best
    make_run(tmp_path, 1e-3, 1, [2.0, 2.45])  # lowest in between, not at the end
    make_run(tmp_path, 9e-1, 1, [0.1, 0.1], rank=8)  # another row: not compared
    make_run(tmp_path, 9e-1, 1, [0.1, 0.1], precision="bf16")  # another precision: neither
    best = make_run(tmp_path, 1e-3, 2, [2.5, 2.55])
    files.write_json(best / "metrics.json", {"BLEU": 0.99})  # never looked at
    trained, left_out = tune.read_trained(tmp_path)
    text, best_rates = tune.report(trained)
    assert best_rates == [5e-4]
    assert text.splitlines() == [
        "table9/lora_r4 on gpt2, 2 steps, fp32",
        "        lr  valid loss  seeds",
        "    0.0001      2.5000  1, 2",
        "    0.0005      2.4000  1, 2  best: train.lr=0.0005",
        "     0.001      2.5000  1, 2",
    ]
    assert left_out == []


def test_a_best_rate_at_the_end_is_said_to_be(tmp_path):
    for lr in (1e-4, 1e-3):
        make_run(tmp_path, lr, 1, [lr])
    text, _ = tune.report(tune.read_trained(tmp_path)[0])
    assert text.endswith("the best is at the end of what was tried; try beyond it")


def test_rates_are_compared_over_the_seeds_that_all_have(tmp_path):
    """Further seeds at the best rate, whose losses are higher, take nothing from it."""
    make_run(tmp_path, 1e-3, 1, [1.52])
    for seed, loss in ((1, 1.51), (2, 1.54), (3, 1.56)):
        make_run(tmp_path, 3e-3, seed, [loss])
    text, best_rates = tune.report(tune.read_trained(tmp_path)[0])
    assert best_rates == [3e-3] and "     0.003      1.5100  1  best" in text
    assert "compared over the seeds that all rates have" in text
    make_run(tmp_path, 1e-2, 9, [1.6])
    text, _ = tune.report(tune.read_trained(tmp_path)[0])
    assert "the rates have no seed in common" in text


def test_a_rate_at_which_a_seed_diverged_is_not_the_best(tmp_path):
    for lr, seed, loss in ((1e-3, 1, 3.0), (1e-3, 2, 3.1), (1e-2, 1, 2.0), (1e-2, 2, None)):
        run = make_run(tmp_path, lr, seed, [loss or 9.9])
        if loss is None:
            (run / "environment.json").unlink()
            files.write_json(run / "diverged.json", {"error": "the loss is nan"})
    text, best_rates = tune.report(tune.read_trained(tmp_path)[0])
    assert best_rates == [1e-3] and "      0.01    diverged  1, 2" in text


def test_unfinished_and_damaged_runs_are_named(tmp_path):
    damaged, unfinished, strange, odd = (make_run(tmp_path, lr, 1, [2.0]) for lr in (1, 2, 3, 4))
    with open(damaged / "train_log.jsonl", "a") as log:
        log.write('{"step": ')
    (unfinished / "environment.json").unlink()
    (strange / "environment.json").write_text("[]")
    identity = json.loads((odd / "identity.json").read_text())
    identity["training"]["train"]["lr"] = None
    (odd / "identity.json").write_text(json.dumps(identity))
    trained, left_out = tune.read_trained(tmp_path)
    assert trained == [] and len(left_out) == 4
    paths = [line.split(": left out, ")[0] for line in left_out]
    assert paths == [str(path) for path in (damaged, unfinished, strange, odd)]
    assert "train_log.jsonl is damaged" in left_out[0]
    assert left_out[1].endswith("left out, not trained to the end")


def test_the_sweep_holds_loras_rate():
    sweep = yaml.safe_load((ROOT / "configs/sweep/lr.yaml").read_text())["hydra"]
    rates = [float(rate) for rate in sweep["sweeper"]["params"]["train.lr"].split(",")]
    assert sweep["mode"] == "MULTIRUN" and rates == sorted(rates) and 2e-4 in rates[1:-1]


def test_a_sweep_goes_on_after_a_run_that_fails(tmp_path, checkpoint_dir, run_script):
    write_demo_data(tmp_path / "data", train_rows=8, valid_rows=4, test_mrs=3)
    command = [
        "scripts/train.py", "sweep=lr", "experiment=demo/lora",
        "train.lr=1e30,1e-3,1e-2", f"model.path={checkpoint_dir}", f"data.dir={tmp_path}/data",
        f"runs_dir={tmp_path}/runs", "train.max_steps=2", "train.warmup_steps=0",
        f"hydra.sweep.dir={tmp_path}/sweep",
    ]  # fmt: skip
    result = run_script(*(argument.replace("1e30", "-1") for argument in command))
    assert result == (1, "", "error: train.lr is -1.0; it must be above 0\n")
    assert not (tmp_path / "runs").exists()  # before the first run is begun

    result = run_script(*command)
    assert result.code == 1
    assert "error: demo/lora, lr 1e+30, seed 1: " in result.err
    trained, left_out = tune.read_trained(tmp_path / "runs")
    assert {run.lr for run in trained if run.valid_loss is not None} == {1e-3, 1e-2}
    assert left_out == []
    last = json.loads(
        (tmp_path / "runs" / result.out.split("/")[-1].strip() / "train_log.jsonl")
        .read_text().splitlines()[-1]
    )  # fmt: skip
    assert last["valid_loss"] == pytest.approx(trained[0].valid_loss, abs=1) and last["step"] == 2


@pytest.mark.parametrize(("more", "n"), [([], 4), (["adapter.rank=2,4"], 8)])
def test_the_best_rate_is_what_to_run_next_unless_several_have_one(
    tmp_path, checkpoint_dir, run_script, more, n
):
    write_demo_data(tmp_path / "data", train_rows=8, valid_rows=4, test_mrs=3)
    given = ["experiment=demo/lora", f"model.path={checkpoint_dir}", f"data.dir={tmp_path}/data",
             f"runs_dir={tmp_path}/runs", "train.max_steps=1", "train.warmup_steps=0"]  # fmt: skip
    done = run_script("scripts/tune.py", *given, "train.lr=1e-3,1e-2", "seed=1,2", *more)
    assert done.code == 0 and f"made: {n} trained runs in {tmp_path}/runs" in done.err
    last = done.err.splitlines()[-1]
    if more:
        assert last == f"next: python scripts/runs.py {tmp_path}/runs"
    else:
        assert last.startswith("next: python scripts/run.py experiment=demo/lora ")
        assert "seed=" not in last and last.count("train.lr=") == 1


def test_a_sweep_in_which_a_rate_diverged_has_its_label_and_a_best_rate(tmp_path):
    for lr, loss in ((1e-3, 3.0), (3e-3, 2.0), (1e-2, None)):
        run = make_run(tmp_path, lr, 1, [loss or 9.9])
        if loss is None:
            (run / "environment.json").unlink()
            files.write_json(run / "diverged.json", {"error": "the loss is nan"})
    text, best_rates = tune.report(tune.read_trained(tmp_path)[0])
    assert best_rates == [3e-3] and text.splitlines()[0] == "table9/lora_r4 on gpt2, 1 steps, fp32"
