"""Text for a terminal: tables of Markdown aligned, and folded where they are too wide."""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from eval.markdown import cells

LEAST = 100  # columns that are used whatever a terminal says of itself
RULE = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?")
NUMBER = re.compile(r"[+−-]?[\d,.]+( %)?|[–-]")  # a score's minus is U+2212


def show(markdown: str) -> None:
    """Print Markdown: fitted to a terminal, and as it is into a file or a pipe."""
    print(fitted(markdown) if sys.stdout.isatty() else markdown)


def show_line(line: str) -> None:
    """Print a line, on a terminal as several where it is too long for one."""
    print(textwrap.fill(line, width(), subsequent_indent="    ") if sys.stdout.isatty() else line)


def width() -> int:
    """How many columns a line may have."""
    return max(LEAST, shutil.get_terminal_size((LEAST, 24)).columns)


def fitted(markdown: str, columns: int | None = None) -> str:
    """Markdown with lines of at most `columns` (default: the terminal's): its tables aligned, their
    cells folded at spaces where that is needed, and all else folded too."""
    columns = columns or width()
    out: list[str] = []
    for block in re.findall(r"(?m)(?:^\|.*\n?)+|(?:^[^-#>*|\n].*\n?)+|^.*\n?", markdown):
        if block.startswith("|"):
            lines = [line.strip() for line in block.splitlines()]
            out += aligned([cells(line) for line in lines if not RULE.fullmatch(line)], columns)
        elif block:
            hang = " " * len(re.match(r"(> )?(- )?", block)[0])
            out += textwrap.wrap(block, columns, subsequent_indent=hang) or [""]
    return "\n".join(out)


def aligned(
    rows: Sequence[Sequence[str]], columns: int, notes: Sequence[Sequence[str]] = ()
) -> list[str]:
    """The rows, the first of which is the head, as lines of aligned cells.

    notes: lines that stand below each row but the head, folded.

    Columns of numbers stand to the right. Where a line would be longer than `columns`, cells are
    folded, those of the widest column first, in the end within a word, but never in a number; where
    not even their longest words have room side by side, the table goes on below, under the same
    first column.
    """
    rows = [list(row) + [""] * (len(rows[0]) - len(row)) for row in rows]
    lines, blocks = [], _blocks(rows, columns)
    for number, block in enumerate(blocks, 1):
        lines += [""] if lines else []
        lines += _aligned(block, columns, notes if number == len(blocks) else ())
    return lines


def _blocks(rows: list[list[str]], columns: int) -> list[list[list[str]]]:
    """The table in parts of whole columns that have room, each with the first column before it."""
    longest = [max((len(w) for row in rows for w in row[k].split()), default=1)
               for k in range(len(rows[0]))]  # fmt: skip
    parts: list[list[int]] = [[]]
    for k in range(1, len(longest)):
        taken = longest[0] + sum(1 + longest[j] for j in [*parts[-1], k])
        if taken > columns and parts[-1]:
            parts.append([])
        parts[-1].append(k)
    return [[[row[0], *(row[k] for k in part)] for row in rows] for part in parts]


def _aligned(rows: list[list[str]], columns: int, notes: Sequence[Sequence[str]]) -> list[str]:
    """`aligned` for a table whose columns have room side by side."""
    places = range(len(rows[0]))
    right = [all(NUMBER.fullmatch(row[k]) for row in rows[1:] if row[k]) for k in places]
    widths = [max(len(row[k]) for row in rows) for k in places]
    longest = [max((len(w) for row in rows for w in row[k].split()), default=1) for k in places]
    gap = "  " if sum(longest) + 2 * len(widths) - 2 <= columns else " "
    room = columns - len(gap) * (len(widths) - 1)
    whole = [n if to_right else 1 for n, to_right in zip(longest, right, strict=True)]
    for least in (longest, whole):
        while sum(widths) > room and any(w > n for w, n in zip(widths, least, strict=True)):
            k = max((k for k in places if widths[k] > least[k]), key=lambda k: widths[k])
            widths[k] -= 1
    rule = gap.join("-" * n for n in widths)
    lines = [*_folded(rows[0], widths, right, gap), rule]
    for row, below in zip_longest(rows[1:], notes, fillvalue=()):
        lines += _folded(row, widths, right, gap)
        for note in below:
            lines += textwrap.wrap(note, columns, initial_indent="  ", subsequent_indent="    ")
    return lines


def _folded(row: Sequence[str], widths: list[int], right: list[bool], gap: str) -> list[str]:
    cells = [textwrap.wrap(cell, n) or [""] for cell, n in zip(row, widths, strict=True)]
    lines = []
    for part in range(max(map(len, cells))):
        words = [cell[part] if part < len(cell) else "" for cell in cells]
        put = (
            word.rjust(n) if to_right else word.ljust(n)
            for word, n, to_right in zip(words, widths, right, strict=True)
        )
        lines.append(gap.join(put).rstrip())
    return lines
