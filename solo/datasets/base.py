"""What a data set says of itself, and the two ways in which its files are read.

A data set is one module with a `Source` and one line in solo/datasets/__init__.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from solo import rows

E2E_REMEDY = (
    "`python scripts/prepare_data.py e2e` downloads the E2E files (with E2E_DATA_DIR unset), "
    "`python scripts/prepare_data.py demo` writes the demo's, or put the file there yourself"
)
E2E_LICENCE = (
    "the E2E NLG data (Novikova, Dušek and Rieser 2017, https://github.com/tuetschek/e2e-dataset) "
    "or data of its form; the former are under CC BY-SA 4.0"
)


class Row(NamedTuple):
    """One row of a data file."""

    mr: str  # the input as the file has it; predictions carry it
    context: str  # the input as the model reads it
    completion: str | None  # the text that the model is to write; None: the file has no texts


class SourceFile(NamedTuple):
    """A file of a data set: its path below the data's folder, its address, its checksum."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """A kind of data file.

    read: a file's columns, each a list with a value a row: `read_text`, `read_table`, or any
        function that gives such a dict. `line`: the rows' places in the file, where there are such.
        FileNotFoundError without the file, ValueError for one that is not of this kind.
    parse: one row, {column: value}, as a Row; ValueError says what is wrong with it.
    suffixes: in small letters; where the data set is not named, a file with one of these is of
        this kind.
    splits: the published files by split; empty for data of one's own.
    metrics: the set of metrics that scores it, by its name in eval/metrics.
    remedy: how its published files are had, for whoever lacks one. licence: of the data.
    note: of a file, a sentence for its owner on how it was read, or None.
    """

    read: Callable[[Path], Mapping[str, Sequence]]
    parse: Callable[[dict], Row]
    suffixes: tuple[str, ...] = ()
    splits: dict[str, SourceFile] = field(default_factory=dict)
    metrics: str = "e2e"
    remedy: str = E2E_REMEDY
    licence: str = E2E_LICENCE
    note: Callable[[Path], str | None] = lambda path: None


def read_text(path: Path) -> dict[str, list]:
    """A UTF-8 file as the columns `line` and `text`, a row a line that is not blank."""
    lines = enumerate(rows.without_mark(_lines(path)), 1)
    filled = [(number, line.rstrip("\r\n")) for number, line in lines if line.strip()]
    if not filled:
        raise _no_rows(path)
    return {"line": [number for number, _ in filled], "text": [line for _, line in filled]}


def read_table(path: Path) -> dict[str, list]:
    """A CSV, TSV or JSON Lines as the columns `line`, `mr` and, if it has texts, `ref`.

    Which columns of the file these are is decided as for references (solo/rows.py). An object of
    JSON Lines may have a list of texts, each of which makes a row.
    """
    table = _table(path)
    columns = {"line": [number for number, _ in table.rows]}
    for name, place in _places(path, table).items():
        columns[name] = [fields[place] for _, fields in table.rows]
    return columns


def columns_read(path: Path) -> str | None:
    """Which columns of a table are read, in words, unless they are called mr and ref."""
    table = _table(path)
    names = {name: table.columns[place] for name, place in _places(path, table).items()}
    if all(name == column.strip().lower() for name, column in names.items()):
        return None
    texts = f", the texts its {names['ref']!r}" if "ref" in names else ""
    return f"the MRs of {path} are its column {names['mr']!r}{texts}"


def _table(path: Path) -> rows.Table:
    lines = _lines(path)
    if Path(path).suffix.lower() == ".json":
        raise ValueError(f"{path} is no table; {rows.OBJECT}, and call the file .jsonl")
    head = next((line.strip() for line in rows.without_mark(lines) if line.strip()), "")
    if ";" in head and not {",", "\t", "{"} & {*head}:
        raise ValueError(f"{path} has the one column {head!r}; separate columns by commas or tabs")
    table = rows.read_table(path, lines, False, []) if lines else None
    if not table or not table.rows:
        raise _no_rows(path)
    return table


def _places(path: Path, table: rows.Table) -> dict[str, int]:
    """The places of the columns of MRs, mr, and of texts, ref; the latter may be missing."""
    found = {}
    objects = Path(path).suffix.lower() in rows.JSON_LINES
    for name, words in (("mr", rows.SOURCE), ("ref", rows.REFERENCE)):
        places = (rows.keys_named if objects else rows.fields_named)(table.columns, words)
        if len(places) > 1:
            clashing = ", ".join(table.columns[place] for place in places)
            what = "MRs" if name == "mr" else "texts"
            several = "; of several texts for an MR each has a row of its own, with the MR again"
            raise ValueError(
                f"{path}: by their names the columns {clashing} can all be that of the {what}; "
                f"call one of them {name}, and the others otherwise{several * (name == 'ref')}"
            )
        if name == "mr" and not places:
            raise ValueError(
                f"{path} has columns {table.columns}; it needs one of MRs (such as mr) and, to "
                "train on, one of texts (such as ref)"
            )
        if places:
            [found[name]] = places
    return found


def _lines(path: Path) -> list[str]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing")
    return rows.read_lines(path)


def _no_rows(path: Path) -> ValueError:
    return ValueError(f"{path} has no rows; fill it, or if it is a published one fetch it again")
