"""Tables of the Markdown pages that lie among the results, read for the report."""

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from ..markdown import cells

# Pages, what they are about, and the words of their tables' badge.
PAGES = {
    "standin12/README.md": "standin12, stand-in, no reproduction",
    "standin12/rows.md": "standin12, stand-in, no reproduction",
    "standin12/neighbours.md": "standin12, stand-in, no reproduction",
    "standin12/protocol.md": "standin12, stand-in, no reproduction",
    "standin12/table.md": "standin12, stand-in, no reproduction",
    "standin24/README.md": "standin24, stand-in, no reproduction",
    "standin24/table.md": "standin24, stand-in, no reproduction",
    "standin12_webnlg/README.md": "standin12 on WebNLG, stand-in, no reproduction",
    "standin12_webnlg/table.md": "standin12 on WebNLG, stand-in, no reproduction",
    "collapse/table.md": "a probe of Table 6, stand-in, no reproduction",
    "tables/params.md": "counts, no run needed",
    "inconsistencies.md": "the paper's own figures",
    "bench/cpu.md": "speed, random weights",
    "bench/cuda.md": "speed, random weights",
}
RULE = re.compile(r"^\|(\s*:?-+:?\s*\|)+\s*$")
INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|!?\[([^\]]*)\]\(([^)\s]*)\)")


@dataclass(frozen=True)
class Found:
    """A table of a page. title: its heading; kind: the words of its badge; rows: cells as they are
    written, the head first; right: which columns are numbers."""

    page: str
    title: str
    kind: str
    rows: list[list[str]]
    right: list[bool]


def read_pages(results: Path) -> list[Found]:
    """The tables of the pages that are there, in the order of PAGES and then of the page."""
    found = []
    for page, kind in PAGES.items():
        path = Path(results) / page
        if path.is_file():
            found += tables_in(path.read_text(encoding="utf-8", errors="replace"), page, kind)
    return found


def tables_in(text: str, page: str, kind: str) -> list[Found]:
    """The tables of a Markdown page; each has the last heading above it as its title."""
    found, title, lines = [], page, text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("#"):
            title = plain(line.lstrip("# "))
        if RULE.match(line) and number and lines[number - 1].startswith("|"):
            head = cells(lines[number - 1])
            right = [cell.endswith(":") for cell in cells(line)]
            rows = [head]
            while number + 1 < len(lines) and lines[number + 1].startswith("|"):
                number += 1
                rows.append((cells(lines[number]) + [""] * len(head))[: len(head)])
            found.append(Found(page, title, kind, rows, right))
        number += 1
    return found


def plain(text: str) -> str:
    """A cell without Markdown's signs."""
    return INLINE.sub(lambda match: next(g for g in match.groups() if g is not None), text)


def rich(text: str) -> Markup:
    """A cell as HTML: code and bold kept, links as their words, all else escaped."""
    parts, end = [], 0
    for match in INLINE.finditer(text):
        code, bold, words, _ = match.groups()
        parts.append(escape(text[end : match.start()]))
        if code is not None:
            parts.append(Markup("<code>{}</code>").format(code))
        elif bold is not None:
            parts.append(Markup("<strong>{}</strong>").format(plain(bold)))
        else:
            parts.append(escape(words))
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])
