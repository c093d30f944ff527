"""Hypotheses and references brought into the same order.

The rules are those of the E2E challenge's official script (tuetschek/e2e-metrics,
``measure_scores.py``, commit 1b9c4d8); where it stops on reasonable input this reads on and
leaves a note. formats.py reads the files.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .advice import other_references
from .formats import Rows, read_hypotheses, read_references, repaired


@dataclass
class Data:
    """hypotheses[i] is scored against references[i]; sources[i] is its MR, of whichever of the two
    files has MRs, "" if unknown; categories[i] its category, where the references have such."""

    sources: list[str]
    hypotheses: list[str]
    references: list[list[str]]
    notes: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)


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


def loose_key(source: str) -> str:
    return " ".join(source.replace('"', " ").split())


def places(
    wanted: Sequence[str], sources: Sequence[str], key: Callable[[str], Hashable] = loose_key
) -> list[int]:
    """For each wanted MR its place among `sources`; the first of equal ones goes to the first.

    key: what makes two MRs equal; as in scoring, quotes and repeated spaces do not count. Raises
    ValueError if the MRs are not the same.
    """
    ours, theirs = ([key(source) for source in of] for of in (wanted, sources))
    if ours == theirs:
        return list(range(len(ours)))
    if Counter(ours) != Counter(theirs):
        raise ValueError(
            f"outputs for other MRs ({len(ours)} and {len(theirs)}); compare runs on the same test "
            "set"
        )
    where: dict[Hashable, deque[int]] = defaultdict(deque)
    for i, source in enumerate(theirs):
        where[source].append(i)
    return [where[source].popleft() for source in ours]


def _by_source(
    hypotheses: Rows, rows: Rows, names: tuple[Path, Path], partial: bool | None, notes: list[str]
) -> list[list[str]]:
    """References in the order of the hypotheses' MRs, or ids; one may come twice."""
    groups = dict(_group(rows, consecutive=False))
    wanted = list(hypotheses.sources)
    if not groups.keys() >= set(wanted):
        loose = {loose_key(source): references for source, references in groups.items()}
        keys = [loose_key(source) for source in wanted]
        if len(loose) == len(groups) and loose.keys() >= set(keys):
            notes.append("MRs were matched without regard to quotes and repeated spaces")
            groups, wanted = loose, keys
    what = "id" if hypotheses.by_id else "MR"
    for source in wanted:
        if source not in groups:
            better = other_references(hypotheses.sources, rows.sources, names[1])
            raise ValueError(
                f"{names[0]}: {names[1]} has no references for the {what} {source!r}{better}"
                f"{_stray_quote(notes)}"
            )
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
        remedy = "" if partial is None else "; the option --partial scores the others alone"
        raise ValueError(
            f"{names[0]} has {len(wanted)} hypotheses for {len(scored)} MRs, but {names[1]} has "
            f"references for {len(groups)} MRs; the first MR without a hypothesis is "
            f"{missing[0]!r}{remedy}{_stray_quote(notes)}"
        )
    return [groups[source] for source in wanted]


def _stray_quote(notes: Sequence[str]) -> str:
    """What may be behind missing rows: one double quote makes one text of several lines."""
    broken = next((note for note in notes if "line break inside a text" in note), None)
    return f"; look for a stray double quote: {broken}" if broken else ""


def check_sources(sources: Sequence[str], references_path: Path, own: bool = False) -> None:
    """Raise ValueError unless the references in a file are of these MRs, before these have outputs.

    own: they are in the file that the MRs come from, which must then be read as having these MRs;
    a list of references alone cannot be told from its lines.
    """
    notes: list[str] = []
    loaded = read_references(Path(references_path), "auto", notes)
    if isinstance(loaded, Rows):
        names = (Path("the test set"), Path(references_path))
        put_right = str if loaded.categories else repaired  # as the references' own were
        rows = Rows([put_right(source) for source in sources], [""] * len(sources))
        _by_source(rows, loaded, names, partial=None, notes=notes)
    elif own or len(loaded) != len(sources):
        what = "plain text without MRs" if own else f"references for {len(loaded)} segments"
        raise ValueError(
            f"{references_path} has {what}, as the scorer reads it, and the test set "
            f"{len(sources)} MRs; give the references as a table with an MR and a text a row"
        )


def load(
    references_path: Path,
    hypotheses_paths: Sequence[Path],
    kind: str = "auto",
    partial: bool | None = False,
    failures: dict[Path, Exception] | None = None,
) -> list[Data]:
    """Read the references once and every file of hypotheses, and pair them.

    With MRs (or contexts) on both sides the references follow the hypotheses' order, both must
    cover the same MRs, and an MR that comes twice is scored twice; with `partial` hypotheses may
    lack MRs, which the official script allows without a word (None: they may not, and the error
    advises no option that the caller does not have). Otherwise the order counts: a table
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
    named = [data.sources for data in pairs if any(data.sources)]
    if not isinstance(loaded, Rows) and any(sources != named[0] for sources in named):
        raise ValueError(
            f"the files of hypotheses have their MRs in different orders, and {references_path} "
            "has none to match them by; name references with MRs"
        )
    return pairs


def _pair(
    references_path: Path,
    loaded: Rows | list[list[str]],
    hypotheses_path: Path,
    partial: bool | None,
    notes: list[str],
) -> Data:
    of_source = loaded.categories if isinstance(loaded, Rows) else {}
    hypotheses = read_hypotheses(hypotheses_path, notes, repair=not of_source)
    by_id = isinstance(loaded, Rows) and loaded.by_id and hypotheses.by_id
    if hypotheses.by_id and not by_id:  # what one file alone has cannot pair them
        hypotheses.sources = [""] * len(hypotheses.texts)
    elif isinstance(loaded, Rows) and loaded.by_id and not by_id:
        loaded = [texts for _, texts in _group(loaded, consecutive=True)]
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
        blank = [number for number, text in enumerate(hypotheses.texts, 1) if not text]
        of_blank = f"; output {blank[0]} is empty, and counts as one" if blank else ""
        raise ValueError(
            f"{hypotheses_path} has {len(hypotheses.texts)} hypotheses, but {references_path} "
            f"has references for {len(references)} segments; both must have the same number"
            f"{of_blank}{_stray_quote(notes)}"
        )
    if len(set(map(tuple, references))) == 1 and not of_source:
        notes.append(
            "all hypotheses have the same references, so CIDEr, which weighs a word by how few of "
            "the MRs have it, is 0 whatever they say"
        )
    if by_id:
        hypotheses.sources = sources = [""] * len(sources)  # an id says nothing of the MR
    categories = _categories(sources, of_source)
    return Data(hypotheses.sources, hypotheses.texts, references, notes, categories)


def _categories(sources: Sequence[str], of_source: dict[str, str]) -> list[str]:
    """The category of each MR, matched as references are."""
    loose = {loose_key(source): category for source, category in of_source.items()}
    return [loose[loose_key(source)] for source in sources] if of_source else []
