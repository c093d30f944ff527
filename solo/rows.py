"""Lines and tables of a text file, read in one way by the scorer and by training.

The rules are those of the E2E challenge's official script (eval/readers.py); what it stops at and
this reads gets a note. The path is opened as it is, and nothing is remembered of an earlier call.
The scorer needs no more of solo/ than this file, which needs nothing but Python.
"""

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

# Beginnings of column names, lower-cased, that the official script recognises.
SOURCE = ("mr", "src", "source", "meaning", "da", "dial act", "dialogue act")
OUTPUT = ("out", "ref", "sys")
REFERENCE = ("trg", "tgt", "target", "ref", "human")

TABLES = (".csv", ".tsv", ".jsonl")  # suffixes, in small letters
# Where Python and the official script begin a new line, with the space around it.
BREAK = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


@dataclass
class Table:
    """columns: names by the first line; rows: (number of the row's first line, its fields).

    A field keeps the line breaks inside its quotes.
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file with their ends, which are LF, CRLF or CR and nothing else.

    Raises FileNotFoundError, or ValueError with the line of what is not UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8; "
            "convert the file to UTF-8"
        ) from None
    return list(io.StringIO(text, newline=""))


def without_mark(lines: list[str]) -> list[str]:
    """`lines` without the byte order mark of their file."""
    return [line.removeprefix("\ufeff") for line in lines[:1]] + lines[1:]


def one_line(text: str) -> str:
    """`text` with a space for each line break of any kind."""
    return BREAK.sub(" ", text)


def is_table(path: Path) -> bool:
    """Whether the name says so."""
    return Path(path).suffix.lower() in TABLES


def read_table(path: Path, lines: list[str], strip: bool, notes: list[str]) -> Table:
    """Lines as a CSV or TSV; the first one decides about the separator, and names the columns.

    Of a file named .jsonl: an object of texts a line, its keys the columns.

    strip: the space around each line first, as the official script does; an empty field whose tab
    was lost so is put back, with a note. Raises ValueError with the line of a row that has more or
    fewer fields than the first, and for a file without a line.
    """
    lines = [line if line.strip() else "\n" for line in without_mark(lines)]
    if Path(path).suffix.lower() == ".jsonl":
        return _read_objects(path, lines)
    kept = [(number, line) for number, line in enumerate(lines, 1) if line != "\n" or not strip]
    head = next((line.strip() for line in lines if line != "\n"), None)
    if head is None:
        raise ValueError(f"{path} is empty")
    tabs = "\t" in head or (Path(path).suffix.lower() == ".tsv" and "," not in head)
    rows: list[tuple[int, list[str]]] = []
    end = 0
    limit = csv.field_size_limit(2**31 - 1)  # the default refuses fields above 128 KiB
    try:
        texts = (line.strip() + "\n" if strip else line for _, line in kept)
        reader = csv.reader(texts, delimiter="\t" if tabs else ",")
        for fields in reader:
            begin, end = end, reader.line_num
            if not fields:
                continue  # a blank line
            (number, first), (_, last) = kept[begin], kept[end - 1]
            width = len(rows[0][1]) if rows else len(fields)
            missing = width - len(fields)
            if strip and tabs and missing > 0:
                before = min(_lost_tabs(first[::-1]), missing)
                if before + _lost_tabs(last) >= missing:
                    fields = [*[""] * before, *fields, *[""] * (missing - before)]
                    notes.append(f"{path}, line {number}: an empty text without quotes")
            if len(fields) != width:
                raise ValueError(
                    f"{path}, line {number}: {len(fields)} columns, but the first line has "
                    f"{width}; look for a missing separator or a stray double quote"
                )
            rows.append((number, fields))
    except csv.Error as error:
        raise ValueError(f"{path}, line {kept[end][0]}: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return Table(rows[0][1], rows[1:])


def _read_objects(path: Path, lines: list[str]) -> Table:
    """JSON Lines: the columns are the keys of the first object, which all others have too."""
    columns, rows = [], []
    for number, line in enumerate(lines, 1):
        if line == "\n":
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: this is no JSON ({error})") from None
        if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
            raise ValueError(
                f"{path}, line {number}: it is no object of texts; write one a line, such as "
                '{"mr": "...", "ref": "..."}'
            )
        columns = columns or list(fields)
        if fields.keys() != set(columns):
            raise ValueError(
                f"{path}, line {number}: the keys are {list(fields)}, those of the first line "
                f"{columns}; every line must have the same"
            )
        rows.append((number, [fields[name] for name in columns]))
    if not rows:
        raise ValueError(f"{path} is empty")
    return Table(columns, rows)


def _lost_tabs(line: str) -> int:
    """The tabs in the space at the end of a line."""
    return line[len(line.rstrip()) :].count("\t")


def columns_named(names: list[str], beginnings: tuple[str, ...], exact: str = "") -> list[int]:
    """The places of the columns whose names begin with one of `beginnings`, whatever their case.

    Of several, the one whose whole name is `exact`, if there is one.
    """
    plain = [re.sub("[_.-]", " ", name).strip().lower() for name in names]
    places = [place for place, name in enumerate(plain) if name.startswith(beginnings)]
    whole = [place for place in places if plain[place] == exact]
    return whole if len(whole) == 1 else places
