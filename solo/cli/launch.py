"""Rows spread by one of Hydra's launchers: in parallel processes, or over a cluster."""

import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby

from solo.cli.command import say
from solo.cli.rows import Row
from solo.files import ROOT
from solo.runs.runner import distinct


def launch(rows: Sequence[Row], launcher: Sequence[str]) -> list[str]:
    """Bring every row's run to its end through scripts/run.py -m; a line for each failed row.

    launcher: Hydra's own overrides, hydra/launcher=NAME among them. A run that several rows share
    is started once.
    """
    runs = [row.run for row in rows]
    by_decoding = distinct(runs)
    first = {id(members[0]) for members in by_decoding.values()}
    missing = [
        row
        for row, run in zip(rows, runs, strict=True)
        if id(run) in first and run.state()[0] != "done"
    ]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    missing.sort(key=lambda row: row.overrides)
    for overrides, group in groupby(missing, key=lambda row: row.overrides):
        names = ",".join(row.name for row in group)
        command = [sys.executable, str(ROOT / "scripts" / "run.py"), "-m", *launcher]
        say(f"== {names}")
        subprocess.run([*command, f"experiment={names}", *overrides], env=env)
    failures = []
    for members in by_decoding.values():
        state, _ = members[0].state()
        for run in members:
            if state == "done":
                run.note_row(run.config.row)
            else:
                label = run.config.label
                failures.append(f"{label}: {state}, see its output above or its log")
    return failures
