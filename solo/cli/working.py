"""A study's work within a given time, on a machine that may have neither Hydra nor a terminal."""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import torch

from solo.cli.command import say
from solo.options import check
from solo.runs import carry
from solo.runs.checkpoint import trained
from solo.runs.config import RunConfig, from_values, to_values
from solo.runs.run import make_run
from solo.runs.runner import run_all
from solo.runs.study import (
    Job,
    Study,
    check_portions,
    due,
    packed,
    portions,
    read_study,
    sweep,
    untried,
    work,
)

GATHER_EVERY = 60  # seconds


class TimeUp(BaseException):
    """--seconds are over: no error of a run, so nothing that goes on after those catches it."""


def _in_processes(
    study: Study, jobs: list[Job], processes: int, end: float, gather: Callable[[], object]
) -> None:
    """Train the sweeps, then train and decode the jobs, the longest first, in several processes.

    What fails is left to `work`, which meets it again and says so. Raises TimeUp after `end`.
    """
    members = dict.fromkeys(job.rate_of for job in jobs)
    wanted = {name: untried(study, name) for name in members}
    with _pool(processes) as pool:
        sweeps = [config for configs in wanted.values() for config in configs]
        try:
            _wait([pool.submit(_one, to_values(c), "trained", end) for c in sweeps], gather)
        finally:  # the time may be up: the rates of what is trained are kept
            for name, configs in wanted.items():
                if configs and all(trained(make_run(c).directory) for c in configs):
                    sweep(study, [name], reporter(end), say)
        ready = [run.config for run in due(study, jobs, packed(study), lambda text: None)[0]]
        futures = [pool.submit(_one, to_values(c), "decoded", end) for c in _longest_first(ready)]
        _wait(futures, gather)


def _pool(processes: int) -> ProcessPoolExecutor:
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = get_context("spawn")  # a process that has used CUDA cannot be forked
    return ProcessPoolExecutor(processes, context, torch.set_num_threads, (threads,))


def _longest_first(configs: list[RunConfig]) -> list[RunConfig]:
    return sorted(configs, key=lambda c: c.train.max_steps or 1e6 * c.train.epochs, reverse=True)


def _one(values: dict, until: str, end: float) -> bool:
    """Bring a run to `until` in a process of its own; False if the time is up."""
    if time.time() > end:
        return False
    try:
        run_all([make_run(from_values(values))], reporter(end), until, say=say)
    except TimeUp:
        return False
    return True


def _wait(futures: list[Future], gather: Callable[[], object]) -> None:
    """Until all are done, gathering meanwhile: whoever ends this process loses the last minute."""
    left = set(futures)
    while left:
        left = wait(left, timeout=GATHER_EVERY).not_done
        gather()
    if not all([future.result() for future in futures]):
        raise TimeUp


def reporter(end: float):
    """A maker of progress callbacks that print a line every 20 s and raise TimeUp after `end`, a
    time in seconds since the epoch."""

    @contextmanager
    def report_of(label: str, unit: str = "step"):
        last = time.time()

        def report(done: int, total: int, info: dict | None = None) -> None:
            nonlocal last
            now = time.time()
            if now > end:
                raise TimeUp
            if now - last > 20 or done == total:
                last = now
                info = dict(info or {})
                part = f", {info.pop('part')}" if "part" in info else ""
                words = " ".join(f"{key} {value}" for key, value in info.items())
                print(f"{label}{part}: {done:,} of {total:,} {words}", flush=True)

        yield report

    return report_of


def run(
    path: Path,
    seconds: float,
    groups: str | None,
    names: str | None,
    out: Path | None,
    processes: int = 1,
    together: bool = False,
) -> None:
    """Work a study off, as far as the time goes, and gather in `out` what is worth keeping.

    groups, names: comma-separated, None for all. processes: how many runs go on at a time.
    together: those of a group train in one, and so do the rates of its sweeps. Exits with code 1 if
    a run failed. Raises ValueError for several processes with runs that train together.
    """
    check(
        processes == 1 or not together,
        "runs train together in one process; leave out --processes or --together",
    )
    study, end = read_study(path), time.time() + seconds
    chosen = portions(study, groups, names, together)
    failures = []

    def gather() -> list[str]:
        return carry.bundle(study.home, out) if out else []

    try:
        if study.carried:
            carry.unpack(path.parent / "e2e")
        check_portions(study, chosen)
        if processes > 1:
            jobs = list(chain.from_iterable(chosen))
            _in_processes(study, jobs, processes, end, gather)
        failures = work(study, chosen, reporter(end), say, together)
        print("all done", flush=True)
    except TimeUp:
        print("the time is up; the same command goes on from here", flush=True)
    finally:
        if out:
            print(*gather(), sep="\n", flush=True)
    if failures:
        print("failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)
