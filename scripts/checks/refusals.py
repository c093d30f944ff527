"""Command lines that must be refused, each with what its one line has to say.

  python scripts/checks/refusals.py     all of them in this process, in a minute; a line for each
                                        that is not

None needs a file to be there. scripts/checks/torture.py tries them too, beside damaged files.
"""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from solo.files import ROOT

LIST = Path(__file__).with_suffix(".txt")


def cases() -> list[tuple[str, list[str], str]]:
    """(script or module, arguments, what the one line says) of every command line of the list."""
    listed, command = [], []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line.startswith("> "):
            command = line[2:].split()
        elif line and not line.startswith("# "):
            argument, text = line.split(" | ")
            if command[-1] == "...":
                arguments = [*command[1:-1], argument]
            else:
                arguments = [*command[1:], *argument.split()]
            listed.append((command[0], arguments, text))
    return listed


def execute(script: str, arguments: list[str]) -> None:
    """What a shell does with a script, or with a module of `python -m`, in this process."""
    os.chdir(ROOT)
    sys.argv = [script, *arguments]
    if script.endswith(".py"):
        runpy.run_path(script, run_name="__main__")
    else:
        runpy.run_module(script, run_name="__main__")


def outcome(script: str, arguments: list[str]) -> tuple[int, str]:
    """(exit code, standard error) of a command line; afterwards this process is as it was.

    An exception that comes through is raised: a user would see its trace.
    """
    before = sys.argv, os.getcwd(), dict(os.environ)
    errors, code = io.StringIO(), 0
    try:
        with redirect_stderr(errors), redirect_stdout(io.StringIO()):
            execute(script, arguments)
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        os.environ.clear()
        os.environ.update(before[2])
    return code, errors.getvalue()


def wrong(code: int, errors: str, text: str) -> str:
    """What is not as it should be after a command that had to be refused; empty: nothing."""
    line = (errors.strip().splitlines() or [""])[-1]
    if code in (1, 2) and text in line and "Traceback" not in errors:
        return ""
    return f"exit code {code}, {line[-300:]!r}, not {text!r}"


def main() -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    refused = 0
    for script, arguments, text in cases():
        try:
            fault = wrong(*outcome(script, arguments), text)
        except Exception as error:
            fault = f"a trace: {type(error).__name__}: {error}"
        refused += not fault
        if fault:
            print(f"{script} {arguments}: {fault}", flush=True)
    print(f"{refused} of {len(cases())} command lines refused as they should be")
    return 0 if refused == len(cases()) else 1


if __name__ == "__main__":
    sys.exit(main())
