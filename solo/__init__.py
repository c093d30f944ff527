"""Solo Connection and the methods it is compared with: data, adapters, training, decoding."""

import sys
from pathlib import Path


def _interrupted(kind: type, error: BaseException, trace) -> None:
    """sys.excepthook of a script until solo/cli has its own: imports take seconds."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; the same command goes on\n")
    else:
        sys.__excepthook__(kind, error, trace)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parents[1] / "scripts":
    sys.excepthook = _interrupted
