"""Commands run in this process: a start of Python with torch and transformers takes seconds."""

import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from eval.compare import kept
from eval.metrics.statistics import scores
from eval.metrics.systems import Result

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_script(monkeypatch, capsys):
    """A function (script, *arguments) -> Done that runs a script as the shell would."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*arguments) -> Done:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def scores_at_hand(monkeypatch):
    """Every system gets what the first MRs of a committed run got, at once.

    For tests of what happens before scoring and after it; the Java programs take two seconds.
    """
    known = kept(sorted((ROOT / "results/standin12/runs").glob("*.json"))[0]).statistics

    def score_systems(corpora, *args, **options) -> list[Result]:
        results = []
        for hypotheses, _ in corpora:
            rows = {name: rows[: len(hypotheses)] for name, rows in known.items()}
            summed = scores(rows, np.ones((1, len(hypotheses))))
            results.append(Result({name: value[0] for name, value in summed.items()}, [], rows))
        return results

    monkeypatch.setattr("eval.score.score_systems", score_systems)
