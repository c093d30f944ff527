"""A study: runs in order of priority, each at a learning rate that a sweep of its own chooses.

It is one JSON file with every configuration resolved, so that a machine without Hydra can work it
off, in as many calls as it takes: what is done is not repeated, what was killed goes on. A run that
lies packed in its folder (scripts/pack_run.py) is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from solo.files import read_json, write_json
from solo.options import check
from solo.run_files import IDENTITY
from solo.runs import rates, record
from solo.runs.config import RunConfig, from_values, to_values
from solo.runs.identity import short_name
from solo.runs.memory import check_memory
from solo.runs.run import Run, make_run
from solo.runs.runner import Report, Say, ended, run_all


@dataclass(frozen=True)
class Job:
    """A run of a study. rate_of: the name whose sweep chooses its rate, if that has one;
    neighbour: -1 or 1 for the next lower or higher rate of that sweep instead."""

    name: str
    group: str
    rate_of: str
    config: RunConfig
    neighbour: int = 0


@dataclass(frozen=True)
class Study:
    """home: where runs, sweeps and chosen rates go. sweeps: by name, a run for each rate.
    carried: the data is packed with the study."""

    home: Path
    jobs: list[Job]
    sweeps: dict[str, list[RunConfig]]
    carried: bool

    def configs(self) -> list[RunConfig]:
        """The configurations of all runs, those of the sweeps last."""
        return [job.config for job in self.jobs] + list(chain.from_iterable(self.sweeps.values()))


def write_study(path: Path, study: Study) -> None:
    """Write a study as JSON."""
    jobs = [vars(job) | {"config": to_values(job.config)} for job in study.jobs]
    write_json(
        path,
        {
            "home": str(study.home),
            "carried": study.carried,
            "jobs": jobs,
            "sweeps": {name: list(map(to_values, some)) for name, some in study.sweeps.items()},
        },
    )


def read_study(path: Path) -> Study:
    """Read what write_study wrote. Raises FileNotFoundError, or ValueError for what is wrong."""
    values = read_json(path)
    try:
        jobs = [Job(**job | {"config": from_values(job["config"])}) for job in values["jobs"]]
        sweeps = {name: list(map(from_values, some)) for name, some in values["sweeps"].items()}
        return Study(Path(values["home"]), jobs, sweeps, values["carried"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no study; write it with `scripts/study.py write`") from error


def portions(
    study: Study, groups: str | None, names: str | None, together: bool = False
) -> list[list[Job]]:
    """The jobs of the chosen groups and names (comma-separated), one at a time or, where they train
    together, a group at a time. Raises ValueError for an unknown one."""
    jobs = study.jobs
    for kind, chosen in (("group", groups), ("name", names)):
        choices = dict.fromkeys(getattr(job, kind) for job in study.jobs)
        wanted = chosen.split(",") if chosen else list(choices)
        for value in wanted:
            check(
                value in choices,
                f"the study has no {kind} {value!r}; it has {', '.join(choices)}",
            )
        jobs = [job for job in jobs if getattr(job, kind) in wanted]
    check(bool(jobs), f"no run is of groups {groups} and of names {names}; see the study's list")
    if not together:
        return [[job] for job in jobs]
    in_order = dict.fromkeys(job.group for job in jobs)
    return [[job for job in jobs if job.group == group] for group in in_order]


def check_portions(study: Study, portions: Sequence[Sequence[Job]]) -> None:
    """Raise ValueError for a run, or one of its sweep, that this machine's memory does not hold,
    and for a rate that was written down for another sweep."""
    for job in chain.from_iterable(portions):
        for config in (job.config, *study.sweeps.get(job.rate_of, ())):
            check_memory(config)
    for name in dict.fromkeys(job.rate_of for job in chain.from_iterable(portions)):
        _losses(study, name)


def work(
    study: Study,
    portions: Sequence[Sequence[Job]],
    report: Report,
    say: Say = lambda text: None,
    together: bool = False,
) -> list[str]:
    """Choose rates, train and decode, portion by portion; a line for each run that failed.

    together: the rates of a portion's sweeps, and its runs, share passes through the backbone where
    they can. Raises ValueError, before the first one, for a run that this machine's memory
    does not hold.
    """
    check_portions(study, portions)
    done, failures = packed(study), []
    for jobs in portions:
        names = list(dict.fromkeys(job.rate_of for job in jobs))
        for some in [names] if together else [[name] for name in names]:
            failures += sweep(study, some, report, say, together)
        runs, without_rate = due(study, jobs, done, say)
        outcome = run_all(runs, report, "decoded", train_together=together, say=say)
        failures += [*without_rate, *outcome.failures]
    return failures


def due(
    study: Study, jobs: Sequence[Job], done: Mapping[tuple[str, str], Path], say: Say
) -> tuple[list[Run], list[str]]:
    """The runs of jobs at their rates, but for those of `done` (see `packed`); a line for each job
    that has no rate. Where no rate lies beside the best one there is no run, and no failure."""
    runs, failures = [], []
    for job in jobs:
        try:
            config = at_its_rate(study, job)
            run = make_run(config) if config else None
        except ValueError as error:
            failures.append(f"{job.name}: {error}")
            continue
        if run is None:
            side = "below" if job.neighbour < 0 else "above"
            say(f"{job.name}: no rate {side} its best one got to its end; left out")
            continue
        if path := done.get((run.name, run.decoding.name)):
            say(f"{run.config.label}: done, {path}")
        else:
            runs.append(run)
    return runs, failures


def packed(study: Study) -> dict[tuple[str, str], Path]:
    """The runs that lie packed in a study's folders, by the names of their training and of their
    decoding. `shared_draws`, which earlier versions wrote of runs that had trained together, counts
    as no difference."""
    found = {}
    folders = {Path(job.config.runs_dir) for job in study.jobs}
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        identity = read_json(path, [IDENTITY])[IDENTITY]
        training = {k: v for k, v in identity["training"].items() if k != "shared_draws"}
        decoding = {k: v for k, v in identity.items() if k not in ("version", "training")}
        found[short_name(training), short_name(decoding)] = path
    return found


def untried(study: Study, name: str) -> list[RunConfig]:
    """The configurations of a name's sweep whose rates are not among those written down: all of
    them at first, and those by which a grid was made wider."""
    tried = {lr for lr, _ in _losses(study, name)}
    return [config for config in study.sweeps.get(name, ()) if config.train.lr not in tried]


def sweep(
    study: Study, names: Sequence[str], report: Report, say: Say, together: bool = False
) -> list[str]:
    """Train the untried rates of some names and write down the best of all of each; a line for
    each run that failed otherwise than by diverging, which some rates do. together: they share
    passes through the backbone where they can.

    Nothing is written of a name of which a rate neither trained to its end nor diverged: it was in
    use elsewhere, say, or the memory was too small. The next call goes on with it."""
    wanted = {name: [make_run(config) for config in untried(study, name)] for name in names}
    runs = list(chain.from_iterable(wanted.values()))
    outcome = run_all(runs, report, "trained", train_together=together, say=say)
    for name, trained in wanted.items():
        losses: dict[float, list[float | None]] = {lr: [loss] for lr, loss in _losses(study, name)}
        if not trained or not all(map(ended, trained)):
            continue
        entries = [record.stage_record(run.directory, "train") for run in trained]
        for run, entry in zip(trained, entries, strict=True):
            loss = entry["valid_loss"] if entry else None
            losses.setdefault(run.config.train.lr, []).append(loss)
        if any(entries) or _losses(study, name):
            choice = rates.choose(losses)
            values = {"best": choice.best, "valid_losses": list(choice.losses.items())}
            values["sweep"] = _sweep_name(study, name)
            write_json(rates_file(study, name), values)
            say(f"{name}: {values}")
            if choice.at_edge:
                say(f"{name}: its best rate is at the edge of those tried; make its grid wider")
    return outcome.unexpected


def _losses(study: Study, name: str) -> list[list]:
    """The rates of a name that are written down, with their losses. ValueError for those of another
    sweep (older files do not say of which)."""
    path = rates_file(study, name)
    if not path.exists():
        return []
    values = read_json(path, ["valid_losses"])
    if "sweep" in values and name in study.sweeps:
        check(
            values["sweep"] == _sweep_name(study, name),
            f"{path} has the losses of another sweep: backbone, data, recipe or method were "
            "others; move it away, or give the study another home in its YAML",
        )
    return values["valid_losses"]


def _sweep_name(study: Study, name: str) -> str:
    """The hash of what decides a sweep's runs beside their rates."""
    config = study.sweeps[name][0]
    return make_run(replace(config, train=replace(config.train, lr=1.0))).name


def rates_file(study: Study, name: str) -> Path:
    """Where the chosen rate of a name is written down."""
    return study.home / "rates" / f"{name}.json"


def at_its_rate(study: Study, job: Job) -> RunConfig | None:
    """The job's configuration with the chosen rate, or its neighbour; None if there is no such
    neighbour, or it diverged. ValueError if its sweep gave none, or is not at its end."""
    chosen: Mapping | None = None
    if rates_file(study, job.rate_of).exists():
        chosen = read_json(rates_file(study, job.rate_of))
        left = ", ".join(f"{config.train.lr:g}" for config in untried(study, job.rate_of))
        check(not left, f"the sweep of {job.rate_of} has no loss for {left} yet; run it again")
    elif job.rate_of in study.sweeps:
        raise ValueError(
            f"the sweep of {job.rate_of} is not at its end, or no rate got there; run it again, or "
            "with lower ones"
        )
    if chosen is None:
        return job.config
    tried = sorted(lr for lr, _ in chosen["valid_losses"])
    place = tried.index(chosen["best"]) + job.neighbour
    if not 0 <= place < len(tried) or dict(chosen["valid_losses"])[tried[place]] is None:
        return None
    return replace(job.config, train=replace(job.config.train, lr=tried[place]))
