"""The installed commands. What they need comes with the extra `score`, and they say so without."""

import sys
from importlib import import_module


def score() -> int:
    return _main("score")


def compare() -> int:
    return _main("compare")


def _main(name: str) -> int:
    try:
        module = import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        remedy = "pip install 'solo-connection[score]'"
        print(
            f"error: {error.name} is not installed, which scoring needs: {remedy}", file=sys.stderr
        )
        return 2
    return module.main()
