"""Lines and tables of data files, read in one way by the scorer and by training.

The rules are those of the E2E challenge's official script (eval/readers.py); what it stops at and
this reads gets a note. The path is opened as it is, and nothing is remembered of an earlier call.
This file needs nothing but Python. Sets of triples have a file of their own, triples.py.
"""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# First words of column names, in small letters, one or several of what they name. The official
# script takes any name that begins with their letters, a `dataset` for dialogue acts (da).
SOURCE = ("mr", "src", "source", "meaning", "da", "dial act", "dialogue act")
OUTPUT = ("out", "output", "ref", "reference", "sys", "system output")
REFERENCE = ("trg", "tgt", "target", "ref", "reference", "human")
IN_JSON = {  # further ones of a JSON object's keys
    SOURCE: ("input", "context", "prompt"),
    OUTPUT: ("pred", "prediction", "predicted", "hyp", "hypothesis", "hypotheses", "generated",
             "generation", "text", "completion"),
    REFERENCE: ("completion", "text", "output"),
}  # fmt: skip
EXACT = {SOURCE: "mr", OUTPUT: "output", REFERENCE: "ref"}  # taken of several that fit
# Last words of names of what is told about a text, none of which is the text.
ABOUT = ("id", "ids", "idx", "index", "no", "number", "num", "n", "count", "length", "len",
         "tokens", "rating", "ratings", "score", "scores", "rank", "type", "lang", "language",
         "file", "path", "url", "date", "time")  # fmt: skip

SLOT = re.compile(r"\s*([^,\[\]]+)\[([^\[\]]*)\]\s*(?:,|$)")  # of E2E's MRs: name[X], eatType[pub]
DATA_DIRS = {  # by data set: the environment variable that says where its files are
    "e2e": "E2E_DATA_DIR",
    "e2e_raw": "E2E_DATA_DIR",
    "e2e_clean": "E2E_CLEAN_DIR",
    "webnlg": "WEBNLG_DATA_DIR",
}
JSON_LINES = (".jsonl", ".ndjson")  # suffixes, in small letters
TABLES = (".csv", ".tsv", *JSON_LINES)
OBJECT = 'write an object a line, such as {"mr": "...", "ref": "..."}'
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


def check_characters(texts: Iterable[str], place: str) -> None:
    """Raise ValueError for half of a surrogate pair, which JSON can write and no text has."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{place}: {text!r} holds half of a surrogate pair, which is no character; "
                "write the file again with a JSON library that keeps characters whole"
            ) from None


def has_break(text: str) -> bool:
    """Whether there is a line break of any kind, none of which is printable."""
    return not text.isprintable() and BREAK.search(text) is not None


def one_line(text: str, instead: str = " ") -> str:
    """`text` with a space, or what else is given, for each line break and the space around it."""
    return BREAK.sub(instead, text) if has_break(text) else text


def is_table(path: Path) -> bool:
    """Whether the name says so."""
    return Path(path).suffix.lower() in TABLES


def read_table(path: Path, lines: list[str], strip: bool, notes: list[str]) -> Table:
    """Lines as a CSV or TSV; the first one decides about the separator, and names the columns.

    Of JSON Lines, by their suffix: an object a line, its keys the columns, MRs and references
    texts; one with a list of references makes a row for each.

    strip: the space around each line first, as the official script does; an empty field whose tab
    was lost so is put back, with a note; and a quote may stay open. Raises ValueError with the line
    of a row that has more or fewer fields than the first, or, without strip, a quote that is not
    closed; and for a file without a line.
    """
    lines = [line if line.strip() else "\n" for line in without_mark(lines)]
    if Path(path).suffix.lower() in JSON_LINES:
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
        # The official script takes a quote that is never closed, and all rows after it, for a text.
        reader = csv.reader(texts, delimiter="\t" if tabs else ",", strict=not strip)
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
        raise ValueError(
            f"{path}, line {kept[end][0]}: {error}; look for a stray double quote: one inside a "
            "text is written twice, and the whole text stands between two more"
        ) from None
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
        if not isinstance(fields, dict):
            raise ValueError(f"{path}, line {number}: it is no object; {OBJECT}")
        columns = columns or list(fields)
        if fields.keys() != set(columns):
            raise ValueError(
                f"{path}, line {number}: the keys are {list(fields)}, those of the first line "
                f"{columns}; every line must have the same"
            )
        read = keys_named(columns, SOURCE), keys_named(columns, REFERENCE)
        source, text = (columns[p[0]] if len(p) == 1 else None for p in read)
        texts = fields.get(text)
        several = texts if isinstance(texts, list) and texts else [texts]
        for name, values in ((source, [fields.get(source)]), (text, several)):
            if name and not all(isinstance(value, str) for value in values):
                kinds = "a text or a list of texts" if name == text else "a text"
                raise ValueError(f"{path}, line {number}: {name!r} must be {kinds}; {OBJECT}")
            if name:
                check_characters(values, f"{path}, line {number}")
        for each in several:  # the other fields may hold anything
            own = {text: each} if text else {}
            rows.append((number, [str((fields | own)[name]) for name in columns]))
    if not rows:
        raise ValueError(f"{path} is empty")
    return Table(columns, rows)


def _lost_tabs(line: str) -> int:
    """The tabs in the space at the end of a line."""
    return line[len(line.rstrip()) :].count("\t")


def csv_text(rows: Iterable[Iterable]) -> str:
    """Rows, the head first, as the text of a CSV, with plain line feeds."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def columns_named(names: list[str], words: tuple[str, ...], exact: str = "") -> list[int]:
    """The places of the columns whose names begin with one of `words`, whatever their case, and
    tell of nothing but a text: `ref`, `refs`, `ref_2` and `ref text`, not `refusal` or `ref_id`.

    Of several, the one whose whole name is `exact`, if there is one.
    """
    apart = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in names]  # refText
    plain = [re.sub("[_.-]", " ", name).strip().lower() for name in apart]
    begins = re.compile(rf"({'|'.join(map(re.escape, words))})s?(?![^\W\d_])")
    places = [
        place
        for place, name in enumerate(plain)
        if begins.match(name) and name.split()[-1] not in ABOUT
    ]
    whole = [place for place in places if plain[place] == exact]
    return whole if len(whole) == 1 else places


def fields_named(names: list[str], words: tuple[str, ...]) -> list[int]:
    """The columns that are called so or, where none is, as a JSON object's keys may be.

    A column of references is one of outputs only where no other can be.
    """
    places, others = columns_named(names, words, EXACT[words]), _others(names, words)
    return places if set(places) - set(others) else keys_named(names, words)


def keys_named(names: list[str], words: tuple[str, ...]) -> list[int]:
    """The same of a JSON object's keys, of which more names are known: SOURCE's, OUTPUT's or
    REFERENCE's. An object may have both an output and a reference: each gives way to the other
    where that is looked for."""
    places, others = (
        columns_named(names, words + IN_JSON[words], EXACT[words]),
        _others(names, words),
    )
    return [place for place in places if place not in others] or places


def _others(names: list[str], words: tuple[str, ...]) -> list[int]:
    """The places of what gives way when `words` are looked for."""
    others = {OUTPUT: ("ref", "reference"), REFERENCE: ("output",)}.get(words)
    return columns_named(names, others) if others else []
