"""Write the report: a folder of static pages that works from file:// and from any web server."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jinja2

from solo.files import file_name, read_json, write_text
from solo.rows import csv_text

from ..metrics import ALL
from ..tables.runs import Run, reason
from . import claims, outputs, pages, pictures, runs, scores
from .scores import ReportLine, ReportTable

HERE = Path(__file__).parent
MARKER = "report.json"  # of a report: the names of its files, which alone may be replaced
ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)  # of odd files
FILTERS = ("method", "data", "backbone", "variant", "badge")


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    results: the folder of results; tables: those of scores; reported: eval/tables/paper.yaml;
    counts: exact trainable parameters by row; command: the command that makes a run; references:
    the file of a run's references, None where it is not at hand; challenge, e2e: folders of the
    challenge's outputs and of E2E's data; problems: what could not be read.
    """

    results: Path
    tables: list[ReportTable]
    reported: dict
    counts: dict[str, int]
    command: Callable[[Run], str]
    references: Callable[[Run], Path | None]
    challenge: Path | None = None
    e2e: Path | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Built:
    """index: the first page; size: bytes of the whole; seconds; problems: what was left out."""

    index: Path
    size: int
    seconds: float
    problems: list[str]


def build(material: Material, out: Path) -> Built:
    """Write the report into `out`, in place of an earlier one.

    Raises ValueError, before any work, if there is something else than a report.
    """
    started, out = time.monotonic(), Path(out)
    _check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        target = Path(tempfile.mkdtemp(prefix=f".tmp.{out.name}.", dir=out.parent))
    except OSError as error:  # which names the folder that was tried
        raise OSError(error.errno, error.strerror, str(out)) from error
    target.chmod(0o755)  # mkdtemp's is for its owner alone
    try:
        problems = [*_left_out(material), *_write(material, target)]
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        names = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
        write_text(target / MARKER, json.dumps({"bytes": size, "files": names}) + "\n")
        shutil.rmtree(out, ignore_errors=True)
        target.rename(out)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return Built(out / "index.html", size, time.monotonic() - started, problems)


def _check_place(out: Path) -> None:
    """ValueError unless a report may be written to `out`: nothing is there, or a report and no
    other file. One of an earlier version does not say which files are its own."""
    words = f"{out} is there already, and no report; name another folder with --out"
    if not (out.exists() or out.is_symlink()):
        return
    if out.is_symlink() or not out.is_dir():
        raise ValueError(words)
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    try:
        marker = read_json(out / MARKER) if found else {"files": []}
    except (OSError, ValueError):
        raise ValueError(words) from None
    if marker.keys() == {"bytes"} and "index.html" in found:
        return
    others = sorted(found - {MARKER, *marker.get("files", ())})
    if "files" not in marker or others:
        kept = f" ({out / others[0]} is none of a report's files)" if others else ""
        raise ValueError(words + kept)


def _write(material: Material, target: Path) -> list[str]:
    problems, tables = [], material.tables
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.globals |= {"KINDS": scores.KINDS, "STAND_IN": scores.STAND_IN}
    environment.globals |= {"interval_of": scores.interval_of, "page_of": runs.page_of}
    environment.filters |= {"rich": pages.rich, "slug": file_name}

    def page(name: str, template: str, **content) -> None:
        root = "../" * name.count("/")
        text = environment.get_template(template).render(root=root, here=name, **content)
        write_text(target / name, text)

    for asset in ("page.css", "page.js", "outputs.js"):
        write_text(target / asset, (HERE / "templates" / asset).read_text(encoding="utf-8"))
    drawn = _guarded(problems, "pictures", lambda: _pictures(material, problems), {})
    for picture in (p for group in drawn.values() for p in group):
        path = target / "pictures" / f"{picture.name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.paper)
    found = _guarded(problems, "outputs", lambda: _sets(material, problems), [])
    for of_set in found:
        _write_set(of_set, target / "outputs")
    others = pages.read_pages(material.results)
    _downloads(tables, others, target / "tables")
    judged = claims.judge(tables, material.reported, material.counts)
    page("pictures.html", "pictures.html", groups=drawn)
    page("outputs.html", "outputs.html", sets=found)
    behind = _behind(tables)
    for run, line in behind:
        label = f"{line.label}, seed {run.seed}, {line.backbone}, {line.data}"

        def one(run=run, line=line, label=label) -> None:
            of_set = next(
                (s for s in found if any(x.run == runs.page_of(run) for x in s.systems)), None
            )
            content = runs.content(run, line, of_set, material.command)
            images = pictures.of_run(run, label, line.badge)
            page(runs.page_of(run), "run.html", label=label, pictures=images, **content)

        _guarded(problems, run.name, one, None)
    behind = [pair for pair in behind if (target / runs.page_of(pair[0])).is_file()]
    written = {runs.page_of(run) for run, _ in behind}
    page("tables.html", "tables.html", tables=tables, others=others, options=_options(tables),
         facts_of=runs.facts_of, sides_of=_sides, written=written)  # fmt: skip
    page("index.html", "index.html", judged=judged, tables=tables, behind=behind, sets=found)
    page("runs.html", "runs.html", behind=behind, metrics=_first_metrics(tables),
         left_out=[*_left_out(material), *problems])  # fmt: skip
    return problems


def _left_out(material: Material) -> list[str]:
    """A line for each run, and for whatever else, that could not be read."""
    of_tables = (line for table in material.tables for line in table.left_out)
    return [*dict.fromkeys(of_tables), *material.problems]


def _guarded(problems: list[str], what: str, work: Callable, otherwise):
    """What `work` gives; where files are damaged, `otherwise`, and a line that says so."""
    try:
        return work()
    except ERRORS as error:
        problems.append(f"{what}: left out, {reason(error)}")
        return otherwise


def _behind(tables: list[ReportTable]) -> list[tuple[Run, ReportLine]]:
    """Every run once, with the line that it stands in."""
    found: dict[str, tuple[Run, ReportLine]] = {}
    for table in tables:
        for line in table.lines:
            for run in line.runs:
                found.setdefault(runs.page_of(run), (run, line))
    return list(found.values())


def _pictures(material: Material, problems: list[str]) -> dict[str, list[pictures.Picture]]:
    """Pictures by the heading that they stand under."""

    def of_each(draw: Callable, what: str) -> list[pictures.Picture]:
        """Those of every table; a damaged one takes no other's away."""
        return [
            picture
            for table in material.tables
            for picture in _guarded(problems, f"{what} of {table.name}", partial(draw, table), [])
        ]

    groups = {
        "Scores and slot errors over trainable parameters": of_each(pictures.of_table, "scores")
    }
    learning = of_each(pictures.of_learning, "learning curves")
    groups["Learning curves"] = [p for p in learning if "-lambda-" not in p.name]
    groups["Lambda's paths, with the paper's band"] = [p for p in learning if "-lambda-" in p.name]
    rates = sorted(Path(material.results).glob("*/rates"))
    for heading, draw in (
        ("Loss over learning rate", lambda: pictures.of_rates(rates, material.tables)),
        ("Speed and growth", lambda: pictures.of_speed(material.results)),
    ):
        groups[heading] = _guarded(problems, heading, draw, [])
    return {heading: group for heading, group in groups.items() if group}


def _sets(material: Material, problems: list[str]) -> list[outputs.Set]:
    found = outputs.sets_of(material.tables, runs.page_of, material.references)
    if material.challenge:
        problems += outputs.add_challenge(found, material.challenge, material.e2e)
    return found


def _write_set(of_set: outputs.Set, folder: Path) -> None:
    index = outputs.packed(of_set.name, outputs.index_of(of_set))
    write_text(folder / f"{of_set.name}.js", index)
    for system in of_set.systems:
        key = f"{of_set.name}/{system.name}"
        write_text(folder / f"{key}.js", outputs.packed(key, outputs.content_of(of_set, system)))


def _downloads(tables: list[ReportTable], others: list[pages.Found], folder: Path) -> None:
    """Each table as CSV and LaTeX, what it is in its cells or its caption."""
    for table in tables:
        rows = scores.cells(table)
        caption = table.title + (f" ({scores.STAND_IN})" if table.stand_in else "")
        write_text(folder / f"{table.name}.csv", csv_text(rows))
        write_text(folder / f"{table.name}.tex", scores.as_latex(rows, caption))
    for number, other in enumerate(others):
        rows = [[pages.plain(cell) for cell in row] for row in other.rows]
        caption = f"{other.title} ({other.kind})"
        write_text(folder / f"page{number}.csv", csv_text(rows))
        write_text(folder / f"page{number}.tex", scores.as_latex(rows, caption))


def _options(tables: list[ReportTable]) -> dict[str, list[str]]:
    """What each filter offers."""
    lines = [line for table in tables for line in table.lines]
    return {name: sorted({getattr(line, name) for line in lines} - {""}) for name in FILTERS}


def _sides(table: ReportTable) -> list[dict]:
    """The paper, independent users, ours and what is no reproduction side by side: a row for each
    row and metric."""
    rows: dict[str, list[ReportLine]] = {}
    for line in table.lines:
        rows.setdefault(line.label, []).append(line)
    sides = []
    for metric in table.metrics:
        for label, lines in rows.items():
            texts: dict[str, str] = {}
            for line in lines:
                if metric.name in line.scores:
                    words = line.scores[metric.name].text
                    words += f" ({line.variant})" if line.variant and line.runs else ""
                    texts[line.kind] = "; ".join(filter(None, [texts.get(line.kind), words]))
            sides.append({"label": label, "metric": metric} | {"texts": texts})
    return sides


def _first_metrics(tables: list[ReportTable]) -> list:
    """The first metric of each set that a run has, and the slot error rate."""
    names = dict.fromkeys(table.metrics[0].name for table in tables if table.metrics)
    shown = any("SER" in line.scores for table in tables for line in table.lines)
    return [ALL[name] for name in [*names, *(["SER"] if shown else [])]]
