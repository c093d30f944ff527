"""The runner of a plan: rates by validation loss, resumption, bundles, and what it may not need."""

import copy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scripts import run_plan, standin
from solo import files
from solo.runs import record, run
from tests.solo.test_run import config, quiet  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
FOREVER = float("inf")


@pytest.fixture
def plan(config, tmp_path, monkeypatch) -> dict:  # noqa: F811
    """Solo and LoRA with two rates each, of which Solo's second diverges; full takes LoRA's."""
    monkeypatch.setattr(run_plan, "failures", [])
    adapters = {"solo": {"name": "solo", "rank": 4, "dropout": 0.0}}
    adapters["lora"] = {"name": "lora", "rank": 2, "dropout": 0.0}
    adapters["full"] = {"name": "full"}
    home = tmp_path / "home"

    def made(name: str, lr: float, folder: str = "runs") -> dict:
        one = copy.deepcopy(config) | {"adapter": adapters[name], "runs_dir": str(home / folder)}
        one["train"] |= {"lr": lr, "warmup_steps": 0, "save_every": 1}
        return one

    rates = {"solo": [1e-2, 1e30], "lora": [1e-5, 1e-2]}
    of = {"solo": "solo", "lora": "lora", "full": "lora"}
    return {
        "home": str(home), "carried": False, "together": True,
        "pretrain": {"output_dir": str(tmp_path / "none")},
        "runs": [{"name": n, "group": "b" if n == "full" else "a", "rate_of": of[n],
                  "config": made(n, 1e-4)} for n in of],
        "sweeps": {n: [made(n, lr, "sweep") for lr in some] for n, some in rates.items()},
    }  # fmt: skip


def work(plan, end=FOREVER, groups=None, names=None):
    run_plan.work(plan, Path("none"), run_plan.units(plan, groups, names), end)


def stages_of(plan) -> dict:
    """{adapter: (learning rate, decoded?)} of the runs that are trained."""
    found = {}
    for path in sorted(Path(plan["home"], "runs").glob("*/environment.json")):
        known = files.read_json(path.parent / "identity.json")["training"]
        decoded = bool(record.stage_record(path.parent, "decode"))
        found[known["adapter"]["name"]] = (known["train"]["lr"], decoded)
    return found


def test_a_plan_is_done_once(plan, tmp_path, monkeypatch):
    work(plan)
    alone = [  # LoRA's rates one by one, outside the plan
        record.stage_record(
            run.train_run(c | {"runs_dir": str(tmp_path / "alone")}, quiet), "train"
        )
        for c in plan["sweeps"]["lora"]
    ]
    losses = [entry["valid_loss"] for entry in alone]
    best = [1e-5, 1e-2][losses.index(min(losses))]
    assert stages_of(plan) == {"solo": (1e-2, True), "lora": (best, True), "full": (best, True)}
    found = files.read_json(Path(plan["home"], "rates", "lora.json"))
    assert [lr for lr, _ in found["valid_losses"]] == [1e-5, 1e-2]
    assert [loss for _, loss in found["valid_losses"]] == pytest.approx(losses, rel=1e-4)
    solo = files.read_json(Path(plan["home"], "rates", "solo.json"))
    assert solo["best"] == 1e-2 and solo["valid_losses"][1] == [1e30, None]
    [failure] = run_plan.failures
    assert failure.startswith("train solo lr 1e+30 seed 1: Diverged")

    def never(*args):
        raise AssertionError("done a second time")

    monkeypatch.setattr(run_plan.run, "train_run", never)
    monkeypatch.setattr(run_plan.run, "decode_run", never)
    work(plan)
    Path(plan["home"], "rates", "solo.json").unlink()
    work(plan)  # what diverged is not tried again either
    assert len(run_plan.failures) == 1


def test_it_goes_on_when_the_time_was_up(plan, monkeypatch):
    """Every call makes a single step of progress; the end is that of one call without a limit."""
    plan["sweeps"]["solo"].pop()
    whole = copy.deepcopy(plan)
    whole["home"] += "_whole"
    for one in (*(job["config"] for job in whole["runs"]), *sum(whole["sweeps"].values(), [])):
        one["runs_dir"] = one["runs_dir"].replace("/home/", "/home_whole/")
    work(whole)
    calls = 0
    real = run_plan.reporter

    def two_steps(label, end):
        count = [0]

        def report(done, total, info):
            count[0] += 1
            real(label, end if count[0] < 3 else 0.0)(done, total, info)

        return report

    monkeypatch.setattr(run_plan, "reporter", two_steps)
    while True:
        calls += 1
        try:
            work(plan)
            break
        except run_plan.TimeUp:
            assert calls < 40
    assert calls > 3 and stages_of(plan) == stages_of(whole)
    for path in Path(plan["home"], "runs").glob("*/adapter.safetensors"):
        other = Path(whole["home"], "runs", path.parent.name, path.name)
        assert path.read_bytes() == other.read_bytes(), path


def test_units_and_bad_choices(plan):
    names = [[job["name"] for job in unit] for unit in run_plan.units(plan, None, "lora,full")]
    assert names == [["lora"], ["full"]]
    plan["together"] = False
    assert [len(unit) for unit in run_plan.units(plan, "a", None)] == [1, 1]
    with pytest.raises(ValueError, match="the plan has no group 'c'; it has a, b"):
        run_plan.units(plan, "a,c", None)


def test_bundles_are_small_and_whole(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(run_plan, "BUNDLE", 40_960)  # of tar, blocks of 10,240
    monkeypatch.setattr(run_plan, "MOST", 9)
    home, wanted = Path(plan["home"]), {}
    for i in range(60):
        files = {f"runs/lora-{i}/predictions.tsv": 600, f"runs/lora-{i}/adapter.safetensors": 900}
        files |= {f"runs/full-{i}/adapter.safetensors": 10, f"sweep/s{i}/adapter.safetensors": 10}
        for name, size in files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(bytes([i]) * size)
            wanted[str(home / name).lstrip("/")] = bytes([i]) * size
    run_plan.bundle(plan, tmp_path / "out")
    found = {}
    for path in sorted((tmp_path / "out").iterdir()):
        assert path.stat().st_size <= 40_960
        with tarfile.open(path) as tar:
            found |= {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    assert found == {k: v for k, v in wanted.items() if "/runs/lora-" in k}


def test_the_runner_needs_no_hydra_and_no_datasets():
    missing = ("hydra", "omegaconf", "datasets", "evaluate", "nltk", "pycocoevalcap", "matplotlib")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import scripts.run_plan"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_list_becomes_a_plan_that_any_machine_can_read(monkeypatch, tmp_path):
    """Paths below the checkout alone, the rates of the list, shorter sweeps, all seeds."""
    monkeypatch.setattr(standin, "PLANS", Path("data/standin"))
    made = standin.resolve("gpu", ["pretrain.max_seconds=7", "train.max_steps=9"])
    listed = standin.read_list("gpu")
    assert made["pretrain"]["max_seconds"] == 7
    for where in ("corpus_dir", "tokenizer"):
        assert made["pretrain"][where] == f"data/standin/gpu/{where.removesuffix('_dir')}"
    assert [(job["name"], job["config"]["seed"]) for job in made["runs"]] == [
        (name, seed)
        for group in listed["groups"].values()
        for seed in group["seeds"]
        for name in group["names"]
    ]
    for job in made["runs"]:
        one = job["config"]
        paths = [one["model"]["path"], one["runs_dir"], one["data"]["train_path"]]
        assert not any(Path(path).is_absolute() for path in paths)
        assert one["train"]["max_steps"] == 9 and one["row"].startswith("standin/")
        assert job["rate_of"] in made["sweeps"] or job["name"] == "none"
    for name, rates in listed["rates"].items():
        assert [one["train"]["lr"] for one in made["sweeps"][name]] == rates
        assert {one["train"]["max_steps"] for one in made["sweeps"][name]} == {800}
        assert {one["row"] for one in made["sweeps"][name]} == {None}
    with pytest.raises(ValueError, match="unknown list 'tpu'; known: cpu, gpu, rehearsal"):
        standin.resolve("tpu", [])
