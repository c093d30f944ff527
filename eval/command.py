"""What the command lines of the scorer share: whatever comes, a user sees one line of it."""

import argparse
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from solo.errors import SHOWS_WHERE, in_words

MOST = 6  # lines of what a command made
Main = Callable[[Sequence[str] | None], int]


def command(main: Main) -> Main:
    """Decorator: an exception of `main` is one line, `error: ...`, and exit code 2.

    Ctrl-C is no error, the code is 130. Where the reader of the output has gone (`| head`), the
    command ends without a word, as others do.
    """

    @functools.wraps(main)
    def started(argv: Sequence[str] | None = None) -> int:
        try:
            for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a sign shows its number
                if hasattr(stream, "reconfigure"):
                    stream.reconfigure(errors="backslashreplace")
            code = main(argv)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("interrupted; the same command begins again", file=sys.stderr)
            return 130
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
            return 128 + 13
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            words = in_words(error, SHOWS_WHERE, "score fewer texts in one call")
            print(f"error: {words}", file=sys.stderr)
        return 2

    return started


class Parser(argparse.ArgumentParser):
    """A wrong argument is one line, as every other error."""

    def error(self, message: str):
        raise ValueError(f"{message}; see {self.prog} --help")


def parser_of(module: str, doc: str) -> Parser:
    """The parser of a module of eval/; --help shows the module's docstring, as it is typed here."""
    name = program(module)
    return Parser(
        prog=name,
        description=doc.replace(f"python -m eval.{module}", name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def at_least(low: int) -> Callable[[str], int]:
    """argparse's type of a whole number with a lowest value."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is no whole number of at least {low}")
        return int(text)

    return number


def program(module: str) -> str:
    """What was typed: the installed ``e2e-score``, or ``python -m eval.score``."""
    called = Path(sys.argv[0]).stem
    return called if called == f"e2e-{module}" else f"python -m {__package__}.{module}"


def typed(program: str, *words: object) -> str:
    """A command as it is typed, its words quoted where they need it."""
    return f"{program} {shlex.join(map(str, words))}"


def check_folder(option: str, path: Path) -> None:
    """Raise FileNotFoundError if the folder of a file to write is not there: a slip of the pen."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of --{option} {path} does not exist; make it")


def ending(made: Iterable[object], *following: str) -> None:
    """The last lines of a command, on standard error: what it made, where; what to type next."""
    made = [str(thing) for thing in made]
    if len(made) > MOST:
        made[MOST - 1 :] = [f"... and {len(made) - MOST + 1} more"]
    lines = [f"made: {thing}" for thing in made] + [f"next: {command}" for command in following]
    print("\n".join(lines), file=sys.stderr, flush=True)
