"""The jobs of a resolved plan: sweeps of learning rates, training, decoding. No Hydra here.

A job is {"name", "config"}; a unit is a list of jobs that are trained, where that can be, together
in one pass through the backbone. What fails is a line, and the others go on.
"""

import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from scripts.budget import Budget, TimeUp, decoding_seconds, measured, training_seconds
from solo import record, run, sweep
from solo.data import read_prompts

ALONE = ("full", "none")  # methods that cannot share a pass through the backbone


@dataclass
class Session:
    """One call of run_plan.py: its plan, its time, its switches, and what failed in it."""

    plan: dict
    budget: Budget
    partial: bool = False
    eager: bool = False
    failures: list[str] = field(default_factory=list)

    def begins(self, what: str, needed: float | None) -> bool:
        """Whether `what`, needing so many seconds, may begin; says so either way."""
        estimate = "not measured yet" if needed is None else f"about {needed:,.0f} s"
        left = self.budget.left()
        fits = self.budget.fits(needed) or (self.partial and left > 0)
        state = "begins" if fits else f"not begun, {max(0, left):,.0f} s left"
        print(f"== {what}: {estimate}, {state}", flush=True)
        return fits

    def speeds(self) -> list:
        return measured([Path(self.plan["runs_dir"]), Path(self.plan["sweep_dir"])])

    def failed(self, job: dict, error: Exception) -> None:
        self.failures.append(label(job))
        print(f"error: {label(job)}: {type(error).__name__}: {error}", flush=True)


def label(job: dict) -> str:
    """A job in words."""
    return f"{job['name']} lr {job['config']['train']['lr']:g} seed {job['config']['seed']}"


def directory(config: dict) -> Path:
    return run.run_directory(config, run.identity(config))


def is_trained(job: dict) -> bool:
    return bool(record.stage_record(directory(job["config"]), "train"))


def train_jobs(session: Session, jobs: list[dict]) -> None:
    """Train what is not trained yet: those that can share the backbone in one wave, then the
    others one by one."""
    jobs = [job for job in jobs if not is_trained(job)]
    shared = [job for job in jobs if job["config"]["adapter"]["name"] not in ALONE]
    shared = shared if session.plan["together"] else []
    for wave in ([shared] if shared else []) + [[job] for job in jobs if job not in shared]:
        names = ", ".join(dict.fromkeys(job["name"] for job in wave))
        needed = training_seconds(wave[0]["config"], len(wave), session.speeds())
        if session.begins(f"train {len(wave)} x {names}", needed):
            _train_wave(session, wave, session.budget.watched(f"train {names}"))


def _train_wave(session: Session, wave: list[dict], report) -> None:
    jobs = {str(directory(job["config"])): job for job in wave}
    configs = [copy.deepcopy(job["config"]) for job in wave]
    if session.eager:
        _set_eager(configs)

    def alone(config: dict) -> None:
        try:
            _again_eagerly(partial(run.train_run, config, report), [config])
        except TimeUp:
            raise
        except Exception as error:
            session.failed(jobs[str(directory(config))], error)

    for group in sweep.groups(configs):
        _again_eagerly(partial(sweep.train_group, group, report, alone), group)


def _again_eagerly(work, configs: list[dict]) -> None:
    """Do `work`; where a compiled one fails, for another reason than its numbers, uncompiled."""
    try:
        work()
    except (TimeUp, ArithmeticError, ValueError):
        raise
    except Exception as error:
        if not torch.cuda.is_available() or configs[0]["train"]["compile"] is False:
            raise
        print(f"again without compilation: {type(error).__name__}: {str(error)[:500]}", flush=True)
        _set_eager(configs)
        work()


def _set_eager(configs: list[dict]) -> None:
    for config in configs:
        config["train"]["compile"] = False


def sweep_rates(session: Session, names: list[str]) -> None:
    """Train every rate of those of `names` that have some, and write down which is best."""
    plan = session.plan
    todo = [name for name in dict.fromkeys(source(plan, name) for name in names)]
    todo = [name for name in todo if name in plan["sweeps"] and not rates_file(plan, name).exists()]
    jobs = [{"name": name, "config": config} for name in todo for config in plan["sweeps"][name]]
    train_jobs(session, jobs)
    for name in todo:
        _choose(session, name, [job for job in jobs if job["name"] == name])


def _choose(session: Session, name: str, jobs: list[dict]) -> None:
    losses = {}
    for job in jobs:
        done = record.stage_record(directory(job["config"]), "train")
        if not done and label(job) not in session.failures:
            print(f"{name}: {label(job)} is not trained yet, so no rate is chosen", flush=True)
            return
        losses[job["config"]["train"]["lr"]] = done["valid_loss"] if done else None
    known = {lr: loss for lr, loss in losses.items() if loss is not None}
    if not known:
        print(f"{name}: no rate trained to its end; try lower ones", flush=True)
        return
    best, tried = min(known, key=known.get), sorted(losses)
    found = {
        "best": best,
        "best_is_at_an_end": best in (tried[0], tried[-1]),
        "valid_losses": [[lr, losses[lr]] for lr in tried],
        "steps": jobs[0]["config"]["train"]["max_steps"],
    }
    record.write_json(rates_file(session.plan, name), found)
    print(f"{name}: {found}", flush=True)


def source(plan: dict, name: str) -> str:
    """The name whose sweep gives `name` its learning rate."""
    return plan["rates_of"].get(name, name)


def rates_file(plan: dict, name: str) -> Path:
    return Path(plan["rates_dir"]) / f"{name}.json"


def with_rates(session: Session, jobs: list[dict]) -> list[dict]:
    """The jobs with their learning rates; one whose sweep is not done is left out, and said."""
    plan, ready = session.plan, []
    for job in copy.deepcopy(jobs):
        found = source(plan, job["name"])
        if found in plan["sweeps"]:
            if not rates_file(plan, found).exists():
                print(f"{job['name']}: no rate yet; run stage sweep first", flush=True)
                continue
            job["config"]["train"]["lr"] = record.read_json(rates_file(plan, found))["best"]
        ready.append(job)
    return ready


def decode_jobs(session: Session, jobs: list[dict]) -> None:
    """Decode the test set with every job that is trained and not decoded yet."""
    for job in jobs:
        run_dir = directory(job["config"])
        if not is_trained(job) or record.stage_record(run_dir, "decode"):
            continue
        mrs = len(read_prompts(job["config"]["data"]["test_path"]))
        if session.begins(f"decode {label(job)}", decoding_seconds(mrs, session.speeds())):
            report = session.budget.watched(f"decode {label(job)}")
            try:
                run.decode_run(job["config"], run_dir, report)
            except TimeUp:
                raise
            except Exception as error:
                session.failed(job, error)
