"""What the entry points share: one-line errors and progress bars."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

RESULTS = Path(__file__).resolve().parent.parent / "results"
TABLES = {  # table: (where its runs are, where it goes)
    "table1": (RESULTS / "runs", RESULTS / "tables"),
    "demo": (RESULTS / "demo" / "runs", RESULTS / "demo"),
}


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
