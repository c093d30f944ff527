"""What systems say, MR by MR: texts, segment scores, and which slots are right, missing or wrong.

Runs share a data set if they were decoded on the same test file. A set is a small file with the MRs
and one file for each system, which the page loads when it is chosen.
"""

import base64
import gzip
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from solo.files import file_name

from .. import records
from ..formats import read_hypotheses, read_references
from ..metrics import ALL
from ..metrics.slot_errors import marks, read_mr, slots_of
from ..metrics.statistics import Statistics
from ..readers import places
from ..score import score_files
from ..tables.runs import Run
from .scores import ReportLine, ReportTable

SEGMENT = ("ROUGE_L", "METEOR", "CIDEr", "chrF", "SER", "chrF all", "METEOR all", "TER all")
EXACT, VERBATIM = (
    "the phrases of slot_error.py (docs/scores.md)",
    "looking for their values word for word; said otherwise, a value counts as missing, and yes "
    "and no are not looked for",
)
CREDITS = {  # of a data set's texts
    "E2E": "MRs and references: the E2E NLG data set, Novikova, Dušek and Rieser 2017, "
    "https://github.com/tuetschek/e2e-dataset, under CC BY-SA 4.0, like this page's texts of them",
    "WebNLG": "MRs and references: WebNLG 2017, Gardent, Shimorina, Narayan and Perez-Beltrachini, "
    "https://gitlab.com/shimorina/webnlg-dataset, under CC BY-NC-SA 4.0, like this page's texts of "
    "them",
}


@dataclass(frozen=True)
class System:
    """name: of its file; label, kind: as shown; run: the page of its run, "" for none; path: of the
    hypotheses; statistics: of its segments, None where not kept."""

    name: str
    label: str
    kind: str
    run: str
    path: Path
    statistics: Statistics | None


@dataclass
class Set:
    """A test set: its MRs in their order, references by MR (empty without the files), systems, and
    by the name of a system what `content_of` has made."""

    name: str
    title: str
    sources: list[str]
    references: dict[str, list[str]]
    systems: list[System] = field(default_factory=list)
    contents: dict[str, dict] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """How slots are marked."""
        return EXACT if all(read_mr(source) for source in self.sources[:20]) else VERBATIM

    @property
    def credit(self) -> str:
        return CREDITS.get(self.title.partition(",")[0], "")


def sets_of(
    tables: Sequence[ReportTable],
    page_of: Callable[[Run], str],
    references: Callable[[Run], Path | None],
) -> list[Set]:
    """A set for each test file, with a system for each run. references: a run's file, if there."""
    once: dict[str, tuple[ReportTable, ReportLine, Run]] = {}  # a run may stand in several tables
    for table in tables:
        for line in table.lines:
            for run in line.runs:
                once.setdefault(page_of(run), (table, line, run))
    found: dict[str, Set] = {}
    for table, line, run in once.values():
        path, test = records.predictions_of(run.decoding), run.options["data"]["test"]
        sources = read_hypotheses(path, [], repair=False).sources
        if test not in found:
            title = f"{line.data}{' restaurants' if line.data == 'generated' else ', test set'}"
            found[test] = Set(f"set{len(found) + 1}", title, sources, _references(references(run)))
        if Counter(sources) != Counter(found[test].sources):
            continue  # a part of the MRs
        kept = run.outputs
        statistics = _in_order(kept.statistics, kept.sources, found[test]) if kept else None
        several = sum(len(other.runs) for other in table.lines if other.label == line.label) > 1
        label = f"{line.label}{f', seed {run.seed}' if several else ''} ({line.backbone})"
        page = page_of(run)
        system = System(Path(page).stem, label, line.badge, page, path, statistics)
        found[test].systems.append(system)
    return sorted(
        found.values(), key=lambda s: (s.title.startswith("gen"), s.title != "E2E, test set")
    )


def _references(path: Path | None) -> dict[str, list[str]]:
    if path is None:
        return {}
    rows = read_references(path, "auto", [])
    if isinstance(rows, list):
        return {}
    found: dict[str, list[str]] = {}
    for source, text in zip(rows.sources, rows.texts, strict=True):
        found.setdefault(source, []).append(text)
    return found


def _in_order(statistics: Statistics, sources: list[str], of: Set) -> Statistics:
    order = _places(of.sources, sources)
    return {name: rows[order] for name, rows in statistics.items()}


def _places(wanted: Sequence[str], sources: Sequence[str]) -> list[int]:
    """For each wanted MR its place among `sources`, which may have E2E's other spelling. ValueError
    if they are not the same."""
    try:
        return places(wanted, sources)
    except ValueError:
        return places(wanted, sources, _key)


def add_challenge(found: Sequence[Set], folder: Path, e2e: Path | None) -> list[str]:
    """Add the systems of the E2E challenge, TSVs of a folder, to E2E's sets; scored if the official
    references (testset_w_refs.csv) are in `e2e`. A line for each that cannot be read or scored."""
    sets = [of_set for of_set in found if all(map(read_mr, of_set.sources))]
    paths = [p for p in sorted(folder.glob("*.tsv")) if sets and _is_system(p)]
    official, failures, scored = e2e / "testset_w_refs.csv" if e2e else None, {}, {}
    if official and official.is_file():
        results = score_files(official, paths, failures=failures)
        scored = dict(zip([path for path in paths if path not in failures], results, strict=True))
    for of_set, path in itertools.product(sets, paths):
        try:
            _places(of_set.sources, read_hypotheses(path, []).sources)
        except ValueError:
            continue  # of other MRs, or damaged
        result = scored.get(path)
        statistics = result and _in_order(result.statistics, result.sources, of_set)
        name = f"challenge-{file_name(path.stem)}"
        of_set.systems.append(System(name, path.stem, "E2E challenge", "", path, statistics))
    return [f"outputs: not scored, {error}" for error in failures.values()]


def _is_system(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n").split("\t") == ["MR", "output"]


def _key(source: str):
    """An MR whatever its spelling; None for none of E2E's."""
    mr = read_mr(source)
    return mr and frozenset((slot, tuple(sorted(of.elements()))) for slot, of in mr.items())


def index_of(of_set: Set) -> dict:
    """The MRs as slots, the references, and what systems there are, for the page."""
    mrs = [slots_of(source) for source in of_set.sources]
    refs = [of_set.references.get(source, []) for source in of_set.sources]
    return {
        "title": of_set.title,
        "how": of_set.how,
        "credit": of_set.credit,
        "mrs": mrs,
        "refs": refs if any(refs) else None,
        "systems": [
            {"name": s.name, "label": s.label, "kind": s.kind, "run": s.run} for s in of_set.systems
        ],
    }


def content_of(of_set: Set, system: System) -> dict:
    """`_content_of`, made once."""
    if system.name not in of_set.contents:
        of_set.contents[system.name] = _content_of(of_set, system)
    return of_set.contents[system.name]


def _content_of(of_set: Set, system: System) -> dict:
    """A system's texts with marks ([start, end, slot, kind] each) and segment scores, for the page.

    Offsets count UTF-16 units, as JavaScript's do.
    """
    rows = read_hypotheses(system.path, [], repair=not system.run)
    texts = [rows.texts[i] for i in _places(of_set.sources, rows.sources)]
    found = [_marks(source, text) for source, text in zip(of_set.sources, texts, strict=True)]
    return {"texts": texts, "marks": found, "scores": _scores(system.statistics, len(texts))}


def _marks(source: str, text: str) -> list[list]:
    mr = read_mr(source)
    if mr is not None:
        return [
            [_units(text, m.start), _units(text, m.end), f"{m.slot}: {m.value}", m.kind]
            for m in marks(mr, text)
        ]
    found = []
    for *slot, value in slots_of(source):
        if value in ("yes", "no"):
            continue
        name = f"{' '.join(slot)}: {value}"
        parts = {value, slot[0]} if len(slot) == 2 else {value}  # a triple has two entities
        for part in parts:
            words = re.escape(part.strip().replace("_", " "))
            if at := re.search(words, text, re.IGNORECASE):
                found.append([*(_units(text, end) for end in at.span()), name, "right"])
            else:
                found.append([-1, -1, f"{part} of {name}" if len(parts) > 1 else name, "missing"])
    return sorted(found)


def _units(text: str, place: int) -> int:
    return place if place < 0 else len(text[:place].encode("utf-16-le")) // 2


def _scores(statistics: Statistics | None, size: int) -> dict[str, list[float]]:
    """By metric, what each segment has alone, as tables show it."""
    found = {}
    for name in SEGMENT:
        if statistics and name in statistics:
            rows, metric = np.ascontiguousarray(statistics[name]), ALL[name]
            with np.errstate(divide="ignore", invalid="ignore"):
                values = metric.from_sums(rows, np.ones(size)) * metric.scale
            found[metric.title] = [round(float(v), 2) if np.isfinite(v) else 0 for v in values]
    return found


def packed(key: str, content: dict) -> str:
    """A script that hands `content` to the page under `key`: JSON, compressed, in base64.

    A script tag is the one way to load a file from file://; base64 holds no sign of HTML.
    """
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text = base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
    return f"report.receive({json.dumps(key)},{json.dumps(text)});\n"


def folder_of(variable: str) -> Path | None:
    """The folder that an environment variable names, if it is there."""
    value = os.environ.get(variable)
    return Path(value) if value and Path(value).is_dir() else None
