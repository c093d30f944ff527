"""Tables in Markdown, and pages of which a command writes a part."""

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


def with_part(page: str, command: str, content: str) -> str:
    """A page with what `command` writes into it, between its two marks, made anew. ValueError where
    it has lost one of them."""
    begin, end = f"<!-- {command} writes from here -->", "<!-- to here -->"
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"a page has lost a mark; it needs {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"
