"""Read hypotheses and references, and bring them into the same order.

The rules are those of the E2E challenge's official script (tuetschek/e2e-metrics,
``measure_scores.py``, commit 1b9c4d8); where it stops on reasonable input this reads on and
leaves a note. References: a table (CSV or TSV with a header such as ``mr,ref``), lines
``context||completion`` (the data files of LoRA's repository), or plain text with one reference
per line and a blank line between segments. Hypotheses: a table, or plain text with one per line.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

FORMATS = ("auto", "table", "lora", "text")

# Beginnings of column names, lower-cased, that the official script recognises.
_SOURCE = ("mr", "src", "source", "meaning", "da", "dial act", "dialogue act")
_OUTPUT = ("out", "ref", "sys")
_REFERENCE = ("trg", "tgt", "target", "ref", "human")

# Pound signs and accents of a file that went through a wrong encoding; repaired in tables.
_REPAIRS = (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é"))


@dataclass
class Rows:
    """The rows of a file: ``sources[i]`` is the MR or context of ``texts[i]``."""

    sources: list[str]
    texts: list[str]


@dataclass
class Data:
    """hypotheses[i] is scored against references[i]; sources[i] is its MR, "" if unknown."""

    sources: list[str]
    hypotheses: list[str]
    references: list[list[str]]
    notes: list[str] = field(default_factory=list)


def _read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, split (at U+2028 too) as the official script splits them."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8; "
            "convert the file to UTF-8"
        ) from None
    return text.splitlines()


def _starts(name: str, beginnings: tuple[str, ...]) -> bool:
    name = name.lower()
    for separator in "_.-":
        name = name.replace(separator, " ")
    return name.startswith(beginnings)


def _columns(header: list[str], names: tuple[str, ...]) -> tuple[list[int], list[int]]:
    sources = [i for i, name in enumerate(header) if _starts(name, _SOURCE)]
    texts = [i for i, name in enumerate(header) if _starts(name, names)]
    return sources, texts


def _parse(path: Path, lines: list[str], notes: list[str]) -> list[tuple[int, list[str]]]:
    """CSV or TSV rows, each with its line number; the first line decides about the separator."""
    kept = [(number, line.strip(), line) for number, line in enumerate(lines, 1) if line.strip()]
    if not kept:
        raise ValueError(f"{path} is empty")
    separator = "\t" if "\t" in kept[0][1] else ","
    texts = [kept[0][1].replace("\ufeff", ""), *(line for _, line, _ in kept[1:])]
    for wrong, right in _REPAIRS:
        texts = [text.replace(wrong, right) for text in texts]
    rows = []
    limit = csv.field_size_limit(2**31 - 1)  # the default refuses fields above 128 KiB
    try:
        reader = csv.reader(texts, delimiter=separator)
        for row in reader:
            number, _, line = kept[reader.line_num - 1]
            if rows and line.endswith("\t") and len(row) == len(rows[0][1]) - 1:
                row.append("")  # an empty text whose tab was stripped
                notes.append(f"{path}, line {number}: an empty text without quotes")
            rows.append((number, row))
    except csv.Error as error:
        raise ValueError(f"{path}, line {kept[reader.line_num - 1][0]}: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return rows


def _read_table(path: Path, lines: list[str], names: tuple[str, ...], notes: list[str]) -> Rows:
    rows = _parse(path, lines, notes)
    header = rows[0][1]
    sources, texts = _columns(header, names)
    if len(sources) == len(texts) == 1:
        source, text = sources[0], texts[0]
        rows = rows[1:]
    elif len(header) == 2 and not sources:
        source, text = 0, 1
        notes.append(f"{path} has no header: its two columns were read as MR and text")
    else:
        raise ValueError(
            f"{path}: the header {header} must name one column of MRs (such as MR) and one of "
            f"texts (such as {'output' if names is _OUTPUT else 'ref'})"
        )
    for number, row in rows:
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {number}: {len(row)} columns, but the first line has "
                f"{len(header)}; look for a missing separator or a stray double quote"
            )
    return Rows([row[source] for _, row in rows], [row[text] for _, row in rows])


def _read_lora(path: Path, lines: list[str]) -> Rows:
    rows = Rows([], [])
    for number, line in enumerate(lines, 1):
        for wrong, right in _REPAIRS:  # as in tables, so that contexts keep matching
            line = line.replace(wrong, right)
        context, separator, completion = line.lstrip("\ufeff").partition("||")
        if not line.strip():
            continue
        if not separator:
            raise ValueError(f"{path}, line {number}: no '||' between context and completion")
        rows.sources.append(context.strip())
        rows.texts.append(completion.strip())
    return rows


def _read_segments(lines: list[str]) -> list[list[str]]:
    """Plain references: segments between blank lines, or one line each without blank lines.

    The official script keeps a byte order mark as a part of the first word, and so does this.
    """
    groups = [[]]
    for line in map(str.strip, lines):
        if line:
            groups[-1].append(line)
        elif groups[-1]:
            groups.append([])
    groups = [group for group in groups if group]
    return [[line] for line in groups[0]] if len(groups) == 1 else groups


def _is_table(path: Path, lines: list[str], names: tuple[str, ...]) -> bool:
    if path.suffix.lower() in (".tsv", ".csv"):
        return True
    first = lines[0].strip().lstrip("\ufeff") if lines else ""
    sources, texts = _columns([name.strip('"') for name in first.split("\t")], names)
    return len(sources) == len(texts) == 1


def _guess_format(path: Path, lines: list[str]) -> str:
    if _is_table(path, lines, _REFERENCE):
        return "table"
    filled = [line for line in lines if line.strip()]
    # A few lines of plain text may hold ||, and a few of LoRA's may lack it (an error later).
    marked = sum("||" in line.replace("|||", "") for line in filled)
    return "lora" if 2 * marked > len(filled) else "text"


def read_references(path: Path, kind: str, notes: list[str]) -> Rows | list[list[str]]:
    """Rows of a table or of LoRA's lines; a list of segments for plain text.

    Raises FileNotFoundError, or ValueError with file and line.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown reference format {kind!r}; known: {', '.join(FORMATS)}")
    lines = _read_lines(path)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} holds no references: it is empty")
    kind = _guess_format(path, lines) if kind == "auto" else kind
    if kind == "table":
        return _read_table(path, lines, _REFERENCE, notes)
    return _read_lora(path, lines) if kind == "lora" else _read_segments(lines)


def read_hypotheses(path: Path, notes: list[str]) -> Rows:
    """Hypotheses with their MRs; the MRs are all "" where the file has none.

    Raises FileNotFoundError, or ValueError with file and line.
    """
    lines = _read_lines(path)
    if _is_table(path, lines, _OUTPUT):
        rows = _read_table(path, lines, _OUTPUT, notes)
    else:
        rows = Rows([""] * len(lines), [line.strip() for line in lines])
    if not rows.texts:
        raise ValueError(f"{path} holds no hypotheses")
    return rows


def _group(rows: Rows, consecutive: bool) -> list[tuple[str, list[str]]]:
    """References by MR in order of first appearance, or by runs of the same MR."""
    groups: list[tuple[str, list[str]]] = []
    of_source: dict[str, list[str]] = {}
    for source, text in zip(rows.sources, rows.texts, strict=True):
        if source not in of_source or (consecutive and groups[-1][0] != source):
            of_source[source] = []
            groups.append((source, of_source[source]))
        of_source[source].append(text)
    return groups


def _key(source: str) -> str:
    return " ".join(source.replace('"', " ").split())


def _by_source(
    hypotheses: Rows, rows: Rows, names: tuple[Path, Path], partial: bool, notes: list[str]
) -> list[list[str]]:
    """References in the order of the hypotheses' MRs; an MR may come twice."""
    groups = dict(_group(rows, consecutive=False))
    wanted = list(hypotheses.sources)
    if not groups.keys() >= set(wanted):
        loose = {_key(source): references for source, references in groups.items()}
        keys = [_key(source) for source in wanted]
        if len(loose) == len(groups) and loose.keys() >= set(keys):
            notes.append("MRs were matched without regard to quotes and repeated spaces")
            groups, wanted = loose, keys
    for source in wanted:
        if source not in groups:
            raise ValueError(f"{names[0]}: {names[1]} has no references for the MR {source!r}")
    scored = set(wanted)
    missing = [source for source in groups if source not in scored]
    if missing and partial:
        notes.append(f"{names[0]}: {len(scored)} of {len(groups)} MRs are scored")
    elif missing:
        raise ValueError(
            f"{names[0]} has {len(wanted)} hypotheses for {len(scored)} MRs, but {names[1]} has "
            f"references for {len(groups)} MRs; the first MR without a hypothesis is "
            f"{missing[0]!r}; the option --partial scores the others alone"
        )
    return [groups[source] for source in wanted]


def load(
    references_path: Path,
    hypotheses_paths: Sequence[Path],
    kind: str = "auto",
    partial: bool = False,
) -> list[Data]:
    """Read the references once and every file of hypotheses, and pair them.

    With MRs (or contexts) on both sides the references follow the hypotheses' order, both must
    cover the same MRs, and an MR that comes twice is scored twice; with `partial` hypotheses may
    lack MRs, which the official script allows without a word. Otherwise the order counts: a table
    is grouped by runs of the same MR, LoRA's lines by context in order of first appearance.

    Raises FileNotFoundError, or ValueError naming file, line or MR.
    """
    notes: list[str] = []
    references_path = Path(references_path)
    loaded = read_references(references_path, kind, notes)
    return [
        _pair(references_path, loaded, Path(path), partial, list(notes))
        for path in hypotheses_paths
    ]


def _pair(
    references_path: Path,
    loaded: Rows | list[list[str]],
    hypotheses_path: Path,
    partial: bool,
    notes: list[str],
) -> Data:
    hypotheses = read_hypotheses(hypotheses_path, notes)
    names = (hypotheses_path, references_path)
    if isinstance(loaded, Rows) and any(hypotheses.sources):
        references = _by_source(hypotheses, loaded, names, partial, notes)
    elif isinstance(loaded, Rows):
        runs = _group(loaded, consecutive=True)
        distinct = _group(loaded, consecutive=False)
        # The official script knows runs only and stops where their number is another.
        groups = runs if len(runs) == len(hypotheses.texts) else distinct
        references = [texts for _, texts in groups]
    else:
        references = loaded
    if len(references) != len(hypotheses.texts):
        raise ValueError(
            f"{hypotheses_path} has {len(hypotheses.texts)} hypotheses, but {references_path} "
            f"has references for {len(references)} segments; both must have the same number"
        )
    return Data(hypotheses.sources, hypotheses.texts, references, notes)
