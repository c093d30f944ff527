"""Tables in Markdown."""

import re
from collections.abc import Iterable, Sequence

RULES = {"l": "---", "r": "---:"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Its lines. align: a letter for each column, l or r, as LaTeX has them (default: all l)."""
    align = align or "l" * len(head)
    rules = "|" + "".join(f"{RULES[letter]}|" for letter in align)
    return [_line(head), rules, *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def cells(line: str) -> list[str]:
    """Those of a table's line."""
    found = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace(r"\|", "|") for cell in found]
