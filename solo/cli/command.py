"""What the entry points share: arguments, Hydra's start, one-line errors and progress bars.

Hydra is imported when a command starts with it, so that a script without it runs where it is not.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIGS, RESULTS = ROOT / "configs", ROOT / "results"
PAPER_TABLES = ("table1", "table2", "table3", "table4", "table5", "table6")
GPT2_TABLES = (*PAPER_TABLES, "extra", "family")
DEMO_TABLES = ("demo", "demo-family")  # on generated data
TABLES = {  # table: (where its runs are, where it goes, where its pictures go)
    **dict.fromkeys(GPT2_TABLES, (RESULTS / "runs", RESULTS / "tables", RESULTS / "figures")),
    **dict.fromkeys(DEMO_TABLES, (RESULTS / "demo" / "runs", *[RESULTS / "demo"] * 2)),
    "demo-e2e": (RESULTS / "demo-e2e" / "runs", *[RESULTS / "demo-e2e"] * 2),
}


def plain_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose --help shows a script's docstring as it is written."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


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
    args = parser.parse_args()
    args.tables = [args.table] if args.table else list(GPT2_TABLES)
    return args


def say(text: str) -> None:
    """A line on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def one_line_errors():
    """Turn an error into one line, `error: ...`, and exit code 1.

    With HYDRA_FULL_ERROR=1 in the environment the whole trace comes instead.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


@contextmanager
def progress_bar(label: str, unit: str = "step"):
    """Yield a callback (done, total, info) that draws a bar with an ETA on standard error."""
    bar = None

    def report(done: int, total: int, info: dict | None = None) -> None:
        nonlocal bar
        if bar is None:  # a resumed run starts where it stopped
            bar = tqdm(desc=label, unit=unit, total=total, initial=done - 1, mininterval=0.5)
        bar.set_postfix(info or {}, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


def command(task: Callable[[DictConfig], None], config_name: str = "config") -> Callable[[], None]:
    """Decorator: `task` as a command line with Hydra's overrides, --help and -m.

    Every configuration that the command line leads to is composed and checked before the first one
    is begun; what is wrong is one line.
    """
    import hydra

    from solo.cli.compose import check_all

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    @functools.wraps(task)
    def main(cfg: DictConfig) -> None:
        with one_line_errors():
            task(cfg)

    @functools.wraps(task)
    def start() -> None:
        with one_line_errors():
            for i, argument in enumerate(sys.argv):
                key, _, value = argument.partition("=")
                if key == "mr" and value[:1] not in "'\"":
                    sys.argv[i] = f"mr={quoted(value)}"  # brackets and commas are Hydra's
            check_all(sys.argv[1:], config_name)
            main()

    return start


def quoted(text: str) -> str:
    """`text` as a quoted string of Hydra's override grammar."""
    return "'" + text.replace("'", r"\'") + "'"


def check_experiments(names: list[str]) -> None:
    """ValueError that lists the known experiments if one of `names` is not among them."""
    folder = CONFIGS / "experiment"
    known = sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
    for name in names:
        if name not in known and name != "null":
            raise ValueError(f"unknown experiment {name!r}; known: {', '.join(known)}")
