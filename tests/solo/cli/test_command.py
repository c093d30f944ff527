"""What a user sees whatever happens, and that the surroundings of a command decide nothing."""

import errno
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from eval.command import ending
from scripts.checks import refusals
from solo.cli.command import (
    check_writable,
    one_line_errors,
    plain_parser,
    progress_bar,
)
from solo.cli.compose import compose_values, expand, in_checkout
from solo.errors import SHOWS_WHERE, in_words
from solo.files import ROOT


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("seed is -1; it must be\n  from 0"), "seed is -1; it must be from 0"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a/x.safetensors"),
            "runs/a/x.safetensors: No space left on device; free some space; the same command "
            "then goes on",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/.cache"),
            "/root/.cache: Permission denied; choose a place that you may read and write, or "
            "change its permissions",
        ),
        (MemoryError(), "too little memory; lower train.batch_size or decode.batch_size, or take"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "too little memory; lower"),
        (KeyError("rank"), "KeyError: 'rank'; HYDRA_FULL_ERROR=1 in the environment shows where"),
        (SafetensorError("header too small"), "SafetensorError: header too small; HYDRA_FULL"),
        (RecursionError("maximum recursion depth"), "RecursionError: maximum recursion depth; H"),
        (ValueError(), "ValueError: ; HYDRA_FULL_ERROR=1"),
    ],
)
def test_whatever_comes_is_one_line(error, line, capsys, monkeypatch):
    words = in_words(error, SHOWS_WHERE)
    assert words.startswith(line) and "\n" not in words
    with pytest.raises(SystemExit, match="1"), one_line_errors():
        raise error
    assert capsys.readouterr().err == f"error: {words}\n"
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)), one_line_errors():
        raise error


def test_an_interrupt_is_a_line_and_says_that_the_command_goes_on(capsys):
    with pytest.raises(SystemExit, match="130"), one_line_errors():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"


def test_an_interrupt_that_a_lazy_import_turned_into_another_error(capsys):
    with pytest.raises(SystemExit, match="130"), one_line_errors():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ModuleNotFoundError("Could not import module 'AutoModel'") from error
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"


HEAD = "import sys; sys.path.insert(0, {!r}); sys.argv[0] = {!r}\n"
HEAD = HEAD.format(str(ROOT), str(ROOT / "scripts" / "x.py"))
HEAD += "from solo.cli.command import one_line_errors, say\n"


def python(code: str, **env) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", HEAD + code]
    env = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} | env
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_outside_of_main_and_in_front_of_a_closed_pipe():
    """An interrupt while torch is imported; a reader that ends at once."""
    result = python("raise KeyboardInterrupt")
    assert result.stderr == "interrupted; the same command goes on\n"
    head = HEAD.replace("solo.cli.command import one_line_errors, say", "solo import rows")
    early = [sys.executable, "-c", head + "raise KeyboardInterrupt"]  # among the first imports
    result = subprocess.run(early, capture_output=True, text=True)
    assert result.stderr == "interrupted; the same command goes on\n"
    assert python("raise KeyError('x')").stderr.startswith("error: KeyError: 'x'; HYDRA_FULL")
    code = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
    code += "with one_line_errors():\n    print('x' * 100_000)"
    result = python(code)
    assert (result.returncode, result.stderr) == (141, "")


def test_an_ascii_terminal():
    result = python("with one_line_errors():\n    print('± –')", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout, result.stderr) == (0, "\\xb1 \\u2013\n", "")


def test_arguments_that_a_parser_refuses_are_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        plain_parser("doc").parse_args(["--nope"])
    line = "error: unrecognized arguments: --nope; --help shows what can be given\n"
    assert capsys.readouterr().err == line


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    check_writable(tmp_path / "new" / "out.tsv")
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="/dev/null/x/out.tsv"):
        check_writable(Path("/dev/null/x/out.tsv"))


@pytest.mark.parametrize(
    "name", ["epoch=5-run", "my run (v2), final", "run#1", "it's [1]", "a:b{c}", "1_000", "true"]
)
def test_a_path_is_taken_as_it_is_typed_in_every_folder(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = in_checkout([f"run={name}", f"output_dir={name}", "model.path=a/b"], sweeping=False)
    assert Path.cwd() == ROOT
    values = compose_values(arguments)
    assert values["run"] == values["output_dir"] == str(tmp_path / name)
    assert values["model"]["path"] == "a/b"  # no directory here: a name on the hub
    again = in_checkout(["run='a \\'b'", f"run={name}", "seed=1"], sweeping=False)
    assert compose_values(again[:1])["run"] == "a 'b"
    assert compose_values(again[1:2])["run"] == name  # from the checkout: as it stands there


@pytest.mark.parametrize(
    "mr",
    ["name : X | Type : pub", "a ${oc.env:HOME} b", "it's ${x}", r"a \${x} \\${x}", r"5 $ \ ",
     "a\\", r"x\'\\'", "[a, b]", "{a: b}", "1", "null", "a=b,c", "${"],
)  # fmt: skip
def test_an_mr_is_taken_as_it_is_typed(mr):
    """No sign in it is one of Hydra's, and none refers to another option."""
    assert compose_values(in_checkout([f"mr={mr}"], sweeping=False))["mr"] == mr


def test_several_paths_of_a_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x", "y", "a,b"):
        (tmp_path / name).mkdir()
    for value, paths in (("x,y", "xy"), ("choice(x,y)", "xy"), ("a,b", ["a,b"])):
        monkeypatch.chdir(tmp_path)
        expanded = expand(in_checkout([f"model.path={value}"], sweeping=True))
        found = [compose_values(overrides)["model"]["path"] for overrides in expanded]
        assert found == [str(tmp_path / path) for path in paths]


def test_an_empty_variable_is_an_unset_one_and_a_relative_one_is_from_the_folder(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("E2E_DATA_DIR", "")
    assert compose_values([])["data"]["train_path"] == "data/e2e/lora_format/train.txt"
    monkeypatch.setenv("E2E_DATA_DIR", "mine")
    monkeypatch.chdir(tmp_path)
    in_checkout([], sweeping=False)
    expected = f"{tmp_path}/mine/lora_format/train.txt"
    assert compose_values(["data.name=e2e"])["data"]["train_path"] == expected


def test_a_users_own_eval_does_not_hide_the_projects(tmp_path):
    (tmp_path / "eval.py").write_text("raise SystemExit('the wrong one')\n")
    code = "import sys; sys.path.insert(0, {!r}); sys.path.append({!r})\n"
    code = code.format(str(tmp_path), str(ROOT)) + "import solo.cli, eval; print(eval.__file__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == (f"{ROOT}/eval/__init__.py\n", "")


def test_a_notebooks_backend_does_not_reach_the_pictures():
    code = "import eval.tables.figures as f; print(f.plt.get_backend().lower())"
    for backend in ("module://matplotlib_inline.backend_inline", "no such backend"):
        result = python(code, MPLBACKEND=backend)
        assert (result.stdout, result.stderr) == ("agg\n", "")


CASES = refusals.cases()


@pytest.mark.parametrize(("script", "arguments", "text"), CASES[::9])
def test_bad_command_lines(script, arguments, text, monkeypatch):
    """A part of them; scripts/checks/refusals.py tries all."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert not refusals.wrong(*refusals.outcome(script, arguments), text)


def test_the_list_is_long_and_names_each_line_once():
    assert len(CASES) >= 200
    assert len({(script, *arguments) for script, arguments, _ in CASES}) == len(CASES)


def test_one_bar_shows_a_validation_and_goes_on(capsys):
    """The steps stand still meanwhile; the validation has numbers and an ETA of its own."""
    with progress_bar("train") as report:
        report(1, 4, {"loss": "2.0"})
        report(2, 4, {"loss": "1.9"})
        for done in (16, 32):
            report(done, 40, {"part": "validate"})
            time.sleep(0.6)  # a bar is drawn every half second
        report(3, 4, {"loss": "1.8"})
        report(4, 4, {"loss": "1.7"})
    drawn = [line.strip() for line in capsys.readouterr().err.split("\r") if line.strip()]
    assert any(line.startswith("validate: train:") and "32/40" in line for line in drawn)
    assert drawn[-1].startswith("train: 100%") and "4/4" in drawn[-1] and "loss=1.7" in drawn[-1]


def test_a_bar_that_ends_in_a_validation_says_all_steps(capsys):
    with progress_bar("train") as report:
        report(4, 4, {})
        report(8, 40, {"part": "validate"})
    last = [line for line in capsys.readouterr().err.split("\r") if line.strip()][-1]
    assert last.startswith("train: 100%") and "4/4" in last


def test_what_is_done_soon_has_no_bar(capsys):
    with progress_bar("score", delay=30) as report:
        report(1, 2)
        report(2, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_command_frees_it_keeps():
    """Memory written to and freed again and again: the pages are fetched from the system once."""
    program = """
import resource, sys
import torch
from solo.cli.command import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(40):
    torch.ones(2**24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[19])  # the first ones find no room that fits
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    env |= {"PYTHONPATH": str(ROOT), "GLIBC_TUNABLES": "", "LD_PRELOAD": ""}
    fetched = {}
    for what in ("keep", "return"):
        command = [sys.executable, "-c", program, what]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        fetched[what] = int(done.stdout)
    assert fetched["keep"] < 100 < 1000 < fetched["return"]


def test_a_command_that_is_not_refused_as_it_should_be_is_seen(monkeypatch, capsys):
    right = (1, "note: x\nerror: no such thing\n")
    ends = [right, (0, right[1]), (1, "Traceback\n" + right[1]), (2, right[1] + "more\n"), (1, "")]
    found = [not refusals.wrong(*end, "no such thing") for end in ends]
    assert found == [True, False, False, False, False]
    monkeypatch.setattr(refusals, "cases", lambda: [("a.py", [], "no such thing")] * 2)
    for end, code in ((right, 0), (ends[1], 1)):
        monkeypatch.setattr(refusals, "outcome", lambda *words, end=end: end)
        assert refusals.main() == code
    assert "2 of 2 command lines refused" in capsys.readouterr().out


@pytest.mark.parametrize("plus", ["+", "++"])
def test_a_path_that_is_added_is_from_the_folder_too(tmp_path, monkeypatch, plus):
    monkeypatch.chdir(tmp_path)
    [argument] = in_checkout([f"{plus}runs_dir=mine"], sweeping=False)
    assert argument == f"{plus}runs_dir='{tmp_path}/mine'"


@pytest.mark.parametrize(("number", "last"), [(6, "made: 6"), (7, "made: ... and 2 more")])
def test_what_a_command_made_takes_six_lines_at_most(capsys, number, last):
    ending(range(1, number + 1), "ls")
    *made, following = capsys.readouterr().err.splitlines()
    assert made == [f"made: {k}" for k in range(1, 6)] + [last] and following == "next: ls"


@pytest.mark.parametrize("option", ["--seconds=1", "--groups=a", "--processes=2", "--together"])
def test_what_is_of_a_study_s_work_is_refused_where_it_is_written(option, monkeypatch):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    arguments = ["score", "standin12", option]
    assert not refusals.wrong(
        *refusals.outcome("scripts/study.py", arguments), "are options of run"
    )
