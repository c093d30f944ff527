"""A study's work within a given time, on a machine that may have neither Hydra nor a terminal."""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

from solo.cli.command import say
from solo.runs import carry
from solo.runs.study import portions, read_study, work


class TimeUp(BaseException):
    """--seconds are over: no error of a run, so nothing that goes on after those catches it."""


def reporter(end: float):
    """A maker of progress callbacks that print a line every 20 s and raise TimeUp after `end`."""

    @contextmanager
    def report_of(label: str, unit: str = "step"):
        last = time.monotonic()

        def report(done: int, total: int, info: dict | None = None) -> None:
            nonlocal last
            now = time.monotonic()
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
    path: Path, seconds: float, groups: str | None, names: str | None, out: Path | None
) -> None:
    """Work a study off, as far as the time goes, and gather in `out` what is worth keeping.

    groups, names: comma-separated, None for all. Exits with code 1 if a run failed.
    """
    study = read_study(path)
    chosen = portions(study, groups, names)
    report = reporter(time.monotonic() + seconds)
    failures = []
    try:
        if study.carried:
            carry.unpack(path.parent / "e2e")
        failures = work(study, chosen, report, say)
        print("all done", flush=True)
    except TimeUp:
        print("the time is up; the same command goes on from here", flush=True)
    finally:
        if out:
            print(*carry.bundle(study.home, out), sep="\n", flush=True)
    if failures:
        print("failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)
