"""What entry points share: arguments, one-line errors, progress bars. It works without Hydra."""

import argparse
import atexit
import ctypes
import errno
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from solo.errors import SHOWS_WHERE, in_words
from solo.files import ROOT

CONFIGS, RESULTS = ROOT / "configs", ROOT / "results"
PAPER_TABLES = ("table1", "table2", "table3", "table4", "table5", "table6")
GPT2_TABLES = (*PAPER_TABLES, "extra", "family")
DATA_TABLES = ("webnlg",)  # on other data sets
DEMO_TABLES = ("demo", "demo-family")  # on generated data
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
TABLES = {  # table: (where its runs are, where it goes, where its pictures go)
    **dict.fromkeys(
        (*GPT2_TABLES, *DATA_TABLES), (RESULTS / "runs", RESULTS / "tables", RESULTS / "figures")
    ),
    **dict.fromkeys(DEMO_TABLES, (RESULTS / "demo" / "runs", *[RESULTS / "demo"] * 2)),
    "demo-e2e": (RESULTS / "demo-e2e" / "runs", *[RESULTS / "demo-e2e"] * 2),
}


def plain_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose --help shows a script's docstring as it is written; an error is one line."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def refuse(message: str) -> NoReturn:
        say(f"error: {message}; --help shows what can be given")
        sys.exit(2)

    parser.error = refuse
    return parser


def table_arguments(doc: str, out: str) -> argparse.Namespace:
    """The command line of what reads the runs of a table, or of all (tables: their names).

    out: where the output goes by default, in words.
    """
    parser = plain_parser(doc)
    parser.add_argument(
        "table", nargs="?", choices=sorted(TABLES), help="default: all but the demo's"
    )
    parser.add_argument("--runs", type=Path, help="directory of runs (default: the table's own)")
    parser.add_argument("--out", type=Path, help=f"where to (default: {out})")
    parser.add_argument("--force", action="store_true", help="replace any files in --out")
    args = parser.parse_args()
    if args.runs and not args.runs.is_dir():
        parser.error(f"--runs {args.runs} is no directory")
    args.force |= args.out is None  # the program's own place
    args.tables = [args.table] if args.table else [*GPT2_TABLES, *DATA_TABLES]
    return args


def say(text: str) -> None:
    """A line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def keep_freed_memory() -> None:
    """Have glibc keep what was freed instead of giving it back to the system and fetching it again.

    A step's tensors are large: without this decoding takes a third longer (docs/speed_notes.md).
    Nothing happens with another C library.
    """
    most = 2**31 - 1
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows names no library so
        mallopt = ctypes.CDLL(None).mallopt
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(option, most)
        mallopt(M_TOP_PAD, 2**28)


def as_note(message: Warning | str, *where, **more) -> str:
    """A warning as a line, `note: ...`."""
    return f"note: {' '.join(str(message).split())}\n"


@contextmanager
def one_line_errors():
    """Turn whatever goes wrong into one line, `error: ...`, and exit code 1.

    Ctrl-C is no error: the line says that the same command goes on, the code is 130. Where the
    reader of the output has gone (`| head`), the command ends without a word, as others do. With
    HYDRA_FULL_ERROR=1 in the environment the whole trace comes instead of the line. A warning is
    one line too, `note: ...`.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without a sign gets its number instead
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = as_note
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(128 + 13)
    except (KeyboardInterrupt, Exception) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        _tell(error)
        if not _is_interrupt(error):
            sys.exit(1)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # a second one comes too late
        sys.exit(130)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it comes of a Ctrl-C, which lazy imports turn into an error of their own."""
    chain = []
    while error is not None and error not in chain:  # an error raised again may follow on itself
        chain.append(error)
        error = error.__cause__ or error.__context__
    return any(isinstance(error, KeyboardInterrupt) for error in chain)


def _tell(error: BaseException) -> None:
    words = f"error: {in_words(error, SHOWS_WHERE)}"
    say("interrupted; the same command goes on" if _is_interrupt(error) else words)


def _outside(kind: type, error: BaseException, trace) -> None:
    """sys.excepthook of a command: what comes before its `main`, in an import, is a line, too."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        sys.__excepthook__(kind, error, trace)
    else:
        _tell(error)


# What peft asks of transformers; whoever runs a command can change neither.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
if Path(sys.argv[0]).resolve().parent == ROOT / "scripts":
    sys.excepthook = _outside


@contextmanager
def progress_bar(label: str, unit: str = "step", delay: float = 0):
    """Yield a callback (done, total, info) that draws a bar with an ETA on standard error.

    delay: seconds until it is drawn. info may name a part of the work as "part", with numbers of
    its own (a validation): the bar shows that until one comes without, and then goes on.
    """
    bar, part, kept = None, "", (0, 0, 0, 0.0)

    def report(done: int, total: int, info: dict | None = None) -> None:
        nonlocal bar, part, kept
        info = dict(info or {})
        new = info.pop("part", "")
        if bar is None:  # a resumed run starts where it stopped
            bar = tqdm(desc=label, unit=unit, total=total, initial=0 if new else done - 1,
                       mininterval=0.5, smoothing=0, delay=delay)  # fmt: skip
        if new and not part:
            kept = (bar.n, bar.total, bar.initial, time.time() - bar.start_t)
            bar.set_description_str(f"{new}: {label}", refresh=False)
            bar.reset(total)
            bar.initial, bar.unit = 0, "example"
        elif part and not new:
            back()
        part = new
        bar.set_postfix(info, refresh=False)
        bar.update(done - bar.n)

    def back() -> None:
        """From a part to the whole, whose time it took does not count as steps."""
        bar.set_description_str(label, refresh=False)
        bar.unit = unit
        bar.reset(kept[1])
        bar.n, bar.initial, bar.last_print_n = kept[0], kept[2], kept[0]
        bar.start_t, bar.last_print_t = time.time() - kept[3], time.time()

    try:
        yield report
    finally:
        if bar is not None:
            if part and bar.n and kept[0]:  # there were steps before it
                back()
            bar.close()


def check_writable(path: Path) -> None:
    """Before the work whose result goes there: OSError unless a file can be written at `path`."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:  # which names the file that was tried
        raise OSError(error.errno, error.strerror, str(path)) from error


def quoted(text: str) -> str:
    """`text` as a quoted string of Hydra's override grammar, where backslashes before a quote are
    written twice."""
    doubled = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text)
    return "'" + doubled.replace("'", r"\'") + "'"


def check_experiments(names: list[str]) -> None:
    """ValueError that lists the known experiments if one of `names` is not among them."""
    folder = CONFIGS / "experiment"
    known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
    for name in names:
        if name not in known and name != "null":
            raise ValueError(f"unknown experiment {name!r}; known: {', '.join(known)}")
