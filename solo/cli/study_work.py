"""A study's work within a given time, on a machine that may have neither Hydra nor a terminal."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch

from solo.backbones.loading import take_device
from solo.cli.command import say
from solo.runs import carry
from solo.runs.config import from_values, to_values
from solo.runs.run import Run, make_run
from solo.runs.runner import ended, run_all
from solo.runs.sharing import can_share
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


class _Work:
    """A study at work in several processes: sweeps, and each name's runs once its rate is known.

    together: the rates of a sweep share passes where they can, in one process. What fails is left
    to `work`, which meets it again and says so.
    """

    def __init__(
        self,
        study: Study,
        jobs: list[Job],
        pool: ProcessPoolExecutor,
        together: bool,
        end: float,
    ):
        self.study, self.jobs, self.pool = study, jobs, pool
        self.together, self.end = together, end
        self.done = packed(study)
        self.sweeps: dict[str, set[Future]] = {}  # by name, what of its sweep has not ended
        self.left: set[Future] = set()  # all that has not ended

    def go_on(self, gather: Callable[[], object]) -> None:
        """Until nothing is left. Raises TimeUp after `end`; `gather` is called every minute, since
        whoever ends this process loses what came after."""
        names, gathered = list(dict.fromkeys(job.rate_of for job in self.jobs)), time.time()
        for name in names:
            runs = [make_run(config) for config in untried(self.study, name)]
            self.sweeps[name] = self._hand_over(runs, "trained", self.together)
        for name in names:
            if not self.sweeps[name]:
                self._start_runs(name)
        while self.left:
            arrived, self.left = wait(self.left, GATHER_EVERY, FIRST_COMPLETED)
            if not all([_result(future) for future in arrived]):
                raise TimeUp
            for name in names:
                if self.sweeps[name] & arrived:
                    self.sweeps[name] -= arrived
                    if not self.sweeps[name] and self._choose_rate(name):
                        self._start_runs(name)
            if time.time() - gathered > GATHER_EVERY:
                gathered = time.time()
                gather()

    def choose_rates(self) -> None:
        """Of all sweeps that are trained; the time may be up before that is seen."""
        for name in self.sweeps:
            self._choose_rate(name)

    def _choose_rate(self, name: str) -> bool:
        """Choose a name's rate if it has a sweep with nothing left of it; whether it had."""
        ready = bool(untried(self.study, name)) and _ended(self.study, name)
        if ready:
            sweep(self.study, [name], reporter(self.end), say, self.together)
        return ready

    def _start_runs(self, name: str) -> None:
        own = [job for job in self.jobs if job.rate_of == name]
        runs = due(self.study, own, self.done, lambda text: None)[0]
        self._hand_over(sorted(runs, key=_length, reverse=True), "decoded")

    def _hand_over(self, runs: list[Run], until: str, together: bool = False) -> set[Future]:
        sharing = [run for run in runs if together and can_share(run)]
        parts = [sharing, *([run] for run in runs if run not in sharing)]
        values = [[to_values(run.config) for run in part] for part in parts if part]
        found = {self.pool.submit(_bring, some, until, together, self.end) for some in values}
        self.left |= found
        return found


def _in_processes(work: _Work, gather: Callable[[], object]) -> None:
    """Go on with the work; whatever ends it, its processes end, and no rate is lost."""
    try:
        work.go_on(gather)
    except TimeUp:  # for the workers, too
        raise
    except BaseException:
        work.pool.shutdown(wait=False, cancel_futures=True)
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.terminate()  # at any moment: the next call goes on from the last state
        for worker in workers:
            worker.join()  # on a busy machine an end takes its time
        raise
    finally:
        work.choose_rates()


def _result(future: Future) -> bool:
    """What `_bring` gives; True where it failed, which is left to `work`."""
    error = future.exception()
    if isinstance(error, BrokenProcessPool):  # a worker was killed, for want of memory say
        raise error
    if error is not None:
        say(f"left for later: {type(error).__name__}: {error}")
    return True if error else future.result()


def _ended(study: Study, name: str) -> bool:
    """Whether every rate of a name is trained, or diverged: nothing is left of its sweep. Not where
    a state is damaged, which `work` says."""
    runs = [make_run(config) for config in untried(study, name)]
    try:
        return all(map(ended, runs))
    except ValueError:
        return False


def _length(run: Run) -> float:
    return run.config.train.max_steps or 1e6 * run.config.train.epochs


def _pool(processes: int) -> ProcessPoolExecutor:
    threads = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")  # what has used CUDA cannot be forked
    return ProcessPoolExecutor(processes, context, _begin, (threads, context.Value("i", 0)))


def _begin(threads: int, begun) -> None:
    """The first thing in a worker: it ends when its parent does, however that ends, and takes one
    of several GPUs. begun: how many workers have begun, which they share."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    take_device(number)


def _bring(values: list[dict], until: str, together: bool, end: float) -> bool:
    """Bring runs to `until` in a process of their own; False if the time is up."""
    if time.time() > end:
        return False
    runs = [make_run(from_values(one)) for one in values]
    try:
        run_all(runs, reporter(end), until, train_together=together, say=say)
    except TimeUp:
        return False
    return True


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

    groups, names: comma-separated, None for all. processes: how many trainings go on at a time.
    together: the runs of a group train in one, and so do the rates of its sweeps; with several
    processes, the rates of each sweep alone. Exits with code 1 if a run failed.
    """
    study, end = read_study(path), time.time() + seconds
    chosen = portions(study, groups, names, together)
    failures = []

    def gather() -> list[str]:
        return carry.bundle(study.home, out) if out else []

    try:
        if study.carried:
            carry.unpack(path.parent / carry.DATA)
        check_portions(study, chosen)
        if processes > 1:
            jobs = list(chain.from_iterable(chosen))
            with _pool(processes) as pool:
                _in_processes(_Work(study, jobs, pool, together, end), gather)
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
