"""How this room's commands call themselves."""

import sys
from pathlib import Path


def program(module: str) -> str:
    """What was typed: the installed ``e2e-score``, or ``python -m eval.score``."""
    called = Path(sys.argv[0]).stem
    return called if called == f"e2e-{module}" else f"python -m {__package__}.{module}"
