"""Commands run in this process: a start of Python with torch and transformers takes seconds."""

import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Result(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_script(monkeypatch, capsys):
    """A function (script, *arguments) -> Result that runs a script as the shell would."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def run(*arguments) -> Result:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        return Result(code, *capsys.readouterr())

    return run
