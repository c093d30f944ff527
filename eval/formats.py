"""Files of hypotheses and references, each read by what it is.

References: a table (CSV or TSV with a header such as ``mr,ref``), lines ``context||completion``
(the data files of LoRA's repository), WebNLG's XML, JSON Lines, or plain text with one reference
per line and a blank line between segments. Hypotheses: a table, JSON Lines, or plain text with one
per line. The rules of tables and plain text are those of the official script (readers.py).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from solo.rows import (
    IN_JSON,
    OUTPUT,
    REFERENCE,
    SOURCE,
    fields_named,
    has_break,
    is_table,
    one_line,
    read_lines,
    read_table,
    without_mark,
)
from solo.triples import read_triples

from .json_lines import is_json, read_objects

FORMATS = ("auto", "table", "lora", "webnlg", "jsonl", "text")

# E2E's pound signs, which stand beside a figure, and its accent, which "café" alone has, in a table
# that went through a wrong encoding. The official script takes any Ł for a pound, that of Łódź too.
_LETTER = r"[^\W\d_]"
_REPAIRS = (
    (re.compile(r"(?:Ł|Â£)(?=\s?-?\s?\d)"), "£"),
    (re.compile(rf"(\d[\s.]{{0,3}})(?:Ł|Â£)(?!{_LETTER})"), r"\1£"),
    (re.compile(r"(?<=caf)[Ãã]©", re.IGNORECASE), "é"),
)


@dataclass
class Rows:
    """The rows of a file: ``sources[i]`` is the MR or context of ``texts[i]``; categories: of each
    MR, where the file says so. by_id: the sources are no MRs, but what JSON Lines have as `id`."""

    sources: list[str]
    texts: list[str]
    categories: dict[str, str] = field(default_factory=dict)
    by_id: bool = False


def repaired(text: str) -> str:
    """A text of a table with E2E's signs put right."""
    if not text.isascii():
        for wrong, right in _REPAIRS:
            text = wrong.sub(right, text)
    return text


def _columns(header: list[str], names: tuple[str, ...]) -> tuple[list[int], list[int]]:
    return fields_named(header, SOURCE), fields_named(header, names)


def _read_table(
    path: Path, lines: list[str], names: tuple[str, ...], notes: list[str], repair: bool = True
) -> Rows:
    put_right = repaired if repair else str
    table = read_table(path, lines, True, notes)
    header, rows = table.columns, [fields for _, fields in table.rows]
    sources, texts = _columns(header, names)
    if len(sources) == len(texts) == 1:
        source, text = sources[0], texts[0]
    elif len(header) == 2 and not sources and not texts:
        source, text = 0, 1
        rows = [header, *rows]
        notes.append(f"{path} has no header: its two columns were read as MR and text")
    else:
        raise ValueError(
            f"{path}: the header {header} must name one column of MRs (its name begins with a "
            f"word of: {_words(SOURCE)}) and one of texts ({_words(names)}); several texts of an "
            "MR have a row each, and commas or tabs stand between columns"
        )
    broken = [number for number, fields in table.rows if has_break(fields[text])]
    if broken:
        notes.append(
            f"{path}, line {broken[0]}: the words around a line break inside a text are glued, as "
            f"in the official script ({len(broken)} such texts); put a space there instead"
        )
    return Rows(
        [one_line(put_right(fields[source])) for fields in rows],
        [one_line(put_right(fields[text]), "") for fields in rows],
    )


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(names + IN_JSON[names]))


def _read_lora(path: Path, lines: list[str]) -> Rows:
    rows = Rows([], [])
    for number, line in enumerate(without_mark(lines), 1):
        if not line.strip():
            continue
        # repaired as in tables, so that contexts keep matching
        context, separator, completion = one_line(repaired(line.strip())).partition("||")
        if not separator:
            raise ValueError(f"{path}, line {number}: no '||' between context and completion")
        rows.sources.append(context.strip())
        rows.texts.append(completion.strip())
    return rows


def _read_webnlg(path: Path) -> Rows:
    entries = read_triples(path)
    rows = [(entry.mr, text) for entry in entries for text in entry.texts]
    if not rows:
        raise ValueError(f"{path} has sets of triples but no texts; name the file with_lex")
    sources, texts = map(list, zip(*rows, strict=True))
    return Rows(sources, texts, {entry.mr: entry.category for entry in reversed(entries)})


def _plain(path: Path, lines: list[str], notes: list[str]) -> list[str]:
    """The lines of plain text.

    The official script keeps a byte order mark as a part of the first word, and so does this.
    """
    if lines and without_mark(lines)[0] != lines[0]:
        notes.append(
            f"{path} begins with a byte order mark, which is a part of its first word, as in the "
            "official script; save it as UTF-8 without one"
        )
    stripped = [line.strip() for line in lines]
    texts = [one_line(line) for line in stripped]
    if texts != stripped:
        notes.append(f"{path}: U+2028 and the like end a line for the official script, not here")
    return texts


def _read_segments(lines: list[str]) -> list[list[str]]:
    """Plain references: segments between blank lines, or one line each without blank lines."""
    groups = [[]]
    for line in lines:
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    groups = [group for group in groups if group]
    return [[line] for line in groups[0]] if len(groups) == 1 else groups


def _is_table(path: Path, lines: list[str], names: tuple[str, ...]) -> bool:
    first = without_mark(lines)[0].strip() if lines else ""
    sources, texts = _columns([name.strip('"') for name in first.split("\t")], names)
    return is_table(path) or len(sources) == len(texts) == 1


def _guess_format(path: Path, lines: list[str]) -> str:
    if _is_table(path, lines, REFERENCE):
        return "table"
    return "lora" if _is_lora(lines) else "text"


def _is_lora(lines: list[str]) -> bool:
    """Whether most lines have a ||: a few of plain text may, and a few of LoRA's may lack it (an
    error later)."""
    filled = [line for line in lines if line.strip()]
    marked = sum("||" in line.replace("|||", "") for line in filled)
    return 2 * marked > len(filled)


def read_references(path: Path, kind: str, notes: list[str]) -> Rows | list[list[str]]:
    """Rows of a table, of LoRA's lines, of XML or of JSON Lines with MRs; for plain text, and JSON
    Lines without, a list of segments.

    Raises FileNotFoundError, or ValueError with file and line. An empty reference gets a note.
    """
    found = _references(path, kind, notes)
    texts = found.texts if isinstance(found, Rows) else [text for some in found for text in some]
    if empty := texts.count(""):
        notes.append(
            f"{path} has {empty:,} empty references, which count as others do, as in the official "
            "script, and change BLEU, NIST and CIDEr; leave such rows out"
        )
    return found


def _references(path: Path, kind: str, notes: list[str]) -> Rows | list[list[str]]:
    if kind not in FORMATS:
        raise ValueError(f"unknown reference format {kind!r}; known: {', '.join(FORMATS)}")
    if kind == "webnlg" or (kind == "auto" and (path.suffix.lower() == ".xml" or path.is_dir())):
        return _read_webnlg(path)
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} holds no references: it is empty")
    if kind == "jsonl" or (kind == "auto" and is_json(path, lines)):
        objects = read_objects(path, lines, REFERENCE)
        pairs = list(zip(objects.sources, objects.texts, strict=True))
        if not any(objects.sources):
            return [[repaired(text) for text in texts] for texts in objects.texts]
        return Rows(
            [repaired(source) for source, texts in pairs for _ in texts],
            [repaired(text) for _, texts in pairs for text in texts],
            by_id=objects.by_id,
        )
    kind = _guess_format(path, lines) if kind == "auto" else kind
    if kind == "table":
        return _read_table(path, lines, REFERENCE, notes)
    if kind == "lora":
        return _read_lora(path, lines)
    return _read_segments(_plain(path, lines, notes))


def read_hypotheses(path: Path, notes: list[str], repair: bool = True) -> Rows:
    """Hypotheses with their MRs; the MRs are all "" where the file has none.

    repair: put signs of E2E right in a table that went through a wrong encoding.

    Raises FileNotFoundError, or ValueError with file and line.
    """
    lines = read_lines(path)
    if is_json(path, lines):
        objects = read_objects(path, lines, OUTPUT)
        put_right = repaired if repair else str
        rows = Rows(
            [put_right(source) for source in objects.sources],
            [put_right(text) for [text] in objects.texts],
            by_id=objects.by_id,
        )
    elif _is_table(path, lines, OUTPUT):
        rows = _read_table(path, lines, OUTPUT, notes, repair)
    elif _is_lora(lines):
        rows = _read_lora(path, lines)
    else:
        rows = Rows([""] * len(lines), _plain(path, lines, notes))
    if not rows.texts:
        raise ValueError(f"{path} holds no hypotheses")
    return rows
