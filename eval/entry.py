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
        package = error.name.partition(".")[0]
        words = f"error: {package} is not installed, which scoring needs"
        print(f"{words}: pip install 'solo-connection[score]'", file=sys.stderr)
        return 2
    return module.main()
