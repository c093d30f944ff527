"""Read hypotheses and references, and bring them into the same order.

The rules are those of the E2E challenge's official script (tuetschek/e2e-metrics,
``measure_scores.py``, commit 1b9c4d8); where it stops on reasonable input this reads on and
leaves a note. References: a table (CSV or TSV with a header such as ``mr,ref``), lines
``context||completion`` (the data files of LoRA's repository), WebNLG's XML, or plain text with one
reference per line and a blank line between segments. Hypotheses: a table, or plain text with one
per line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solo.rows import (
    BREAK,
    OUTPUT,
    REFERENCE,
    SOURCE,
    columns_named,
    is_table,
    one_line,
    read_lines,
    read_table,
    read_triples,
    without_mark,
)

FORMATS = ("auto", "table", "lora", "webnlg", "text")

# Pound signs and accents of a file that went through a wrong encoding; repaired in tables.
_REPAIRS = (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é"))


@dataclass
class Rows:
    """The rows of a file: ``sources[i]`` is the MR or context of ``texts[i]``; categories: of each
    MR, where the file says so."""

    sources: list[str]
    texts: list[str]
    categories: dict[str, str] = field(default_factory=dict)


@dataclass
class Data:
    """hypotheses[i] is scored against references[i]; sources[i] is its MR, of whichever of the two
    files has MRs, "" if unknown; categories[i] its category, where the references have such."""

    sources: list[str]
    hypotheses: list[str]
    references: list[list[str]]
    notes: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)


def _repaired(text: str) -> str:
    for wrong, right in _REPAIRS:
        text = text.replace(wrong, right)
    return text


def _columns(header: list[str], names: tuple[str, ...]) -> tuple[list[int], list[int]]:
    exact = "ref" if names is REFERENCE else ""
    return columns_named(header, SOURCE, "mr"), columns_named(header, names, exact)


def _read_table(
    path: Path, lines: list[str], names: tuple[str, ...], notes: list[str], repair: bool = True
) -> Rows:
    repaired = _repaired if repair else str
    table = read_table(path, lines, True, notes)
    header, rows = table.columns, [fields for _, fields in table.rows]
    sources, texts = _columns(header, names)
    if len(sources) == len(texts) == 1:
        source, text = sources[0], texts[0]
    elif len(header) == 2 and not sources:
        source, text = 0, 1
        rows = [header, *rows]
        notes.append(f"{path} has no header: its two columns were read as MR and text")
    else:
        raise ValueError(
            f"{path}: the header {header} must name one column of MRs (such as MR) and one of "
            f"texts (such as {'output' if names is OUTPUT else 'ref'})"
        )
    broken = [number for number, fields in table.rows if BREAK.search(fields[text])]
    if broken:
        notes.append(
            f"{path}, line {broken[0]}: the words around a line break inside a text are glued, as "
            f"in the official script ({len(broken)} such texts); put a space there instead"
        )
    return Rows(
        [one_line(repaired(fields[source])) for fields in rows],
        [BREAK.sub("", repaired(fields[text])) for fields in rows],
    )


def _read_lora(path: Path, lines: list[str]) -> Rows:
    rows = Rows([], [])
    for number, line in enumerate(without_mark(lines), 1):
        if not line.strip():
            continue
        # repaired as in tables, so that contexts keep matching
        context, separator, completion = one_line(_repaired(line.strip())).partition("||")
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
    filled = [line for line in lines if line.strip()]
    # A few lines of plain text may hold ||, and a few of LoRA's may lack it (an error later).
    marked = sum("||" in line.replace("|||", "") for line in filled)
    return "lora" if 2 * marked > len(filled) else "text"


def read_references(path: Path, kind: str, notes: list[str]) -> Rows | list[list[str]]:
    """Rows of a table, of LoRA's lines or of XML; a list of segments for plain text.

    Raises FileNotFoundError, or ValueError with file and line.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown reference format {kind!r}; known: {', '.join(FORMATS)}")
    if kind == "webnlg" or (kind == "auto" and (path.suffix.lower() == ".xml" or path.is_dir())):
        return _read_webnlg(path)
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} holds no references: it is empty")
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
    if _is_table(path, lines, OUTPUT):
        rows = _read_table(path, lines, OUTPUT, notes, repair)
    else:
        rows = Rows([""] * len(lines), _plain(path, lines, notes))
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
    if len(scored) < len(wanted):
        notes.append(
            f"{names[0]} has {len(wanted):,} hypotheses for {len(scored):,} MRs; an MR counts as "
            "often as it comes, as in the official script: one hypothesis for each reference, not "
            "for each MR, gives inflated figures"
        )
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
    failures: dict[Path, Exception] | None = None,
) -> list[Data]:
    """Read the references once and every file of hypotheses, and pair them.

    With MRs (or contexts) on both sides the references follow the hypotheses' order, both must
    cover the same MRs, and an MR that comes twice is scored twice; with `partial` hypotheses may
    lack MRs, which the official script allows without a word. Otherwise the order counts: a table
    is grouped by runs of the same MR, LoRA's lines by context in order of first appearance.

    Raises FileNotFoundError, or ValueError naming file, line or MR. With `failures` one of a file
    of hypotheses goes there, by path, and the others are read.
    """
    notes: list[str] = []
    references_path = Path(references_path)
    loaded = read_references(references_path, kind, notes)
    pairs = []
    for path in hypotheses_paths:
        try:
            pairs.append(_pair(references_path, loaded, Path(path), partial, list(notes)))
        except (ValueError, OSError) as error:
            if failures is None:
                raise
            failures[path] = error
    return pairs


def _pair(
    references_path: Path,
    loaded: Rows | list[list[str]],
    hypotheses_path: Path,
    partial: bool,
    notes: list[str],
) -> Data:
    of_source = loaded.categories if isinstance(loaded, Rows) else {}
    hypotheses = read_hypotheses(hypotheses_path, notes, repair=not of_source)
    sources = hypotheses.sources
    names = (hypotheses_path, references_path)
    if isinstance(loaded, Rows) and any(hypotheses.sources):
        references = _by_source(hypotheses, loaded, names, partial, notes)
    elif isinstance(loaded, Rows):
        runs = _group(loaded, consecutive=True)
        distinct = _group(loaded, consecutive=False)
        # The official script knows runs only and stops where their number is another.
        groups = runs if len(runs) == len(hypotheses.texts) else distinct
        references = [texts for _, texts in groups]
        hypotheses.sources = sources = [source for source, _ in groups]
    else:
        references = loaded
        if [[source] for source in hypotheses.sources] == references:
            raise ValueError(
                f"{references_path} holds the MRs of {hypotheses_path}, not references; name a "
                "file of references"
            )
    if len(references) != len(hypotheses.texts):
        raise ValueError(
            f"{hypotheses_path} has {len(hypotheses.texts)} hypotheses, but {references_path} "
            f"has references for {len(references)} segments; both must have the same number"
        )
    if len(set(map(tuple, references))) == 1 and not of_source:
        notes.append(
            "all hypotheses have the same references, so CIDEr, which weighs a word by how few of "
            "the MRs have it, is 0 whatever they say"
        )
    categories = _categories(sources, of_source)
    return Data(hypotheses.sources, hypotheses.texts, references, notes, categories)


def _categories(sources: Sequence[str], of_source: dict[str, str]) -> list[str]:
    """The category of each MR, matched as references are."""
    loose = {_key(source): category for source, category in of_source.items()}
    return [loose[_key(source)] for source in sources] if of_source else []
