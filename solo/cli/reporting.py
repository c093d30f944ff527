"""What the report is made from: every table with its runs, and the commands that make these."""

import csv
import re
import shlex
from dataclasses import asdict
from pathlib import Path

from eval import compare, records
from eval.report import scores
from eval.report.build import Material
from eval.report.outputs import folder_of
from eval.tables.runs import Run, decodings_of, noted_rows, read_run, reason
from eval.tables.write import PLAIN
from solo.cli import studies
from solo.cli.command import CONFIGS, RESULTS, ROOT, TABLES, quoted
from solo.cli.compose import compose_config
from solo.cli.counts import doubt
from solo.cli.listing import config_of, in_words
from solo.cli.rows import reported_tables
from solo.cli.study_list import read_list
from solo.cli.tables import table_of
from solo.datasets.download import e2e_dir
from solo.files import as_typed, file_name, flat, read_yaml
from solo.run_files import SCORES
from solo.runs.config import RunConfig
from solo.triples import content_sha256

NO_PART_OF_A_COMMAND = {"row", "output_dir", "decode.output", "together", "runs_dir"}


def gather(results: Path = RESULTS) -> Material:
    """Everything below a folder of results: its tables with their runs, and runs of no table."""
    tables, problems = [], []
    studied = [path.stem for path in sorted((CONFIGS / "study").glob("*.yaml"))]
    for name in [*TABLES, *studied]:
        try:
            found = _table(name, results)
            if found and found.lines:
                tables.append(found)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{name}: left out, {' '.join(str(error).split())}")
    others, unread = _others(results, tables)
    tables, problems = tables + others, problems + unread
    e2e = e2e_dir()
    return Material(
        results, tables, reported_tables(), _counts(results / "tables/params.csv"), command_of,
        references_of, folder_of("E2E_SYSTEMS_DIR"), e2e if e2e.is_dir() else None, problems,
    )  # fmt: skip


def _table(name: str, results: Path) -> scores.ReportTable | None:
    """A table or a study with its runs; None where there are none, nor a page of the table."""
    if name in TABLES:
        runs_dir, out = (results / path.relative_to(RESULTS) for path in TABLES[name][:2])
        page, definition = out / f"{PLAIN.get(name, name)}.md", None
    else:
        home = results / Path(read_list(name).home).relative_to(RESULTS.name)
        if not home.is_dir():
            return None
        runs_dir, page, definition = home / "runs", home / "table.md", studies.definition(name)
    if page.is_file() or (decodings_of(runs_dir) and _concerned(name, runs_dir)):
        return scores.of_table(table_of(name, runs_dir, definition))
    return None


def _others(
    results: Path, tables: list[scores.ReportTable]
) -> tuple[list[scores.ReportTable], list[str]]:
    """(a table for each folder with scored runs that stand in none of the others, runs of one's own
    data for example; a line for each that cannot be read)."""
    reported, found, problems = reported_tables(), [], []
    known = {run.key for table in tables for line in table.lines for run in line.runs}
    told = {line.partition(":")[0] for table in tables for line in table.left_out}
    for folder in sorted({*results.glob("*/"), *results.glob("*/runs/")}):
        others = {}
        for directory, decoding in decodings_of(folder):
            is_scored = records.holds_run(directory) or (decoding / SCORES).is_file()
            if not is_scored or as_typed(decoding) in told:
                continue
            try:
                run = read_run(directory, decoding, reported, doubt)
            except (OSError, ValueError, TypeError, OverflowError) as error:
                problems.append(f"{as_typed(decoding)}: left out, {reason(error)}")
                continue
            if run.key not in known:
                others.setdefault(run.key, (run, _words(run)))
        if others:
            name = file_name(str(folder.relative_to(results)))
            title = f"Runs of no table of the paper, in {as_typed(folder)}"
            labelled = sorted(others.values(), key=lambda pair: pair[0].seed)
            found.append(scores.of_runs(f"in-{name}", title, labelled))
    return found, problems


def _words(run: Run) -> str:
    """What a run is, in words; its name where today's options are others."""
    try:
        return in_words(config_of(run.directory, run.decoding))
    except (ValueError, TypeError, KeyError):
        return run.name


def _concerned(name: str, runs_dir: Path) -> bool:
    """Whether runs there can be of a table: the demo's folder has those of two."""
    return name != "demo-family" or any(r.startswith("family/") for r in noted_rows(runs_dir))


def _counts(path: Path) -> dict[str, int]:
    """Trainable parameters by row, lambdas included as in the tables; none without the file."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        return {row["row"]: int(row["with_lambdas"]) for row in csv.DictReader(file)}


def references_of(run: Run) -> Path | None:
    """The file or folder that a run was scored against, if it is at hand and unchanged."""
    try:
        path = compare.references_of(run.directory)
    except (ValueError, KeyError, TypeError):
        return None
    same = path.exists() and content_sha256(path) == run.options["references"]
    return path if same else None


def command_of(run: Run) -> str:
    """The command that makes a run: its row, if it is of one, and what it sets otherwise.

    A configuration that today's code does not take is told so, and a decoding of another test file.
    """
    try:
        config = config_of(run.directory, run.decoding)
        if config.data.sha256.get("test") not in (None, run.options["data"]["test"]):
            return "(no command: this is a decoding of another test file than its training names)"
        start = [f"experiment={config.row}"] if config.row else [f"adapter={config.method}"]
        start += _data(config)
        return shlex.join(["python", "scripts/run.py", *start, *changes(config, start)])
    except (ValueError, TypeError, KeyError) as error:
        return f"(no command: today's options are others: {' '.join(str(error).split())})"


def _data(config: RunConfig) -> list[str]:
    """The overrides that lead to a configuration's data; empty for E2E's, which is the default.

    Several files of configs/data may read data of one kind: the one with its checksums is taken.
    """
    files = [path for path in sorted((CONFIGS / "data").glob("*.yaml"))
             if read_yaml(path)["name"] == config.data.name]  # fmt: skip
    fitting = [path for path in files if read_yaml(path)["sha256"] == config.data.sha256]
    name = fitting[0].stem if fitting else config.data.name
    start = [f"data={name}"] if name != "e2e" else []
    given, found = asdict(compose_config(start).data), asdict(config.data)
    return start + [
        f"data.{key}={_value(_here(found[key]))}"
        for key in ("train_path", "valid_path", "test_path")
        if _here(found[key]) != _here(given[key]) and not _only_place(f"data.{key}", config)
    ]


def changes(config: RunConfig, start: list[str]) -> list[str]:
    """The overrides that lead from a command's beginning to a configuration, KEY=VALUE each."""
    wanted, given = (flat(asdict(c)) for c in (config, compose_config(start)))
    return [
        f"{key}={_value(_here(value))}"
        for key, value in wanted.items()
        if key not in NO_PART_OF_A_COMMAND
        and _here(given.get(key, given)) != _here(value)
        and not _only_place(key, config)
    ]


def _only_place(key: str, config: RunConfig) -> bool:
    """Whether an option only says where a file lies that is known by its checksum.

    data.dir is what the other paths are made of.
    """
    split = {"data.train_path": "train", "data.valid_path": "valid"}.get(key, "test")
    known = config.data.sha256.get(split) is not None
    place = key.endswith("_path") and key.startswith("data.") or key == "evaluate.references"
    return key == "data.dir" or (place and known)


def _here(value):
    """A path of this checkout from there; anything else as it is."""
    inside = isinstance(value, str) and value.startswith(f"{ROOT}/")
    return str(Path(value).relative_to(ROOT)) if inside else value


def _value(value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_value, value))}]"
    if isinstance(value, str):
        return value if re.fullmatch(r"[\w/-]*[^\W_][\w/-]*", value) else quoted(value)
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
