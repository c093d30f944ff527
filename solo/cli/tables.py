"""Tables with all that they are made from: definitions, rows' settings, counts, finished runs."""

from pathlib import Path

from eval.tables.lines import (
    Table,
    load_reported,
    read_table,
    rows_named,
    table_names,
    with_family_rows,
)
from eval.tables.runs import claimed_rows
from solo.adapters import METHODS
from solo.cli.command import CONFIGS
from solo.cli.counts import row_counts
from solo.cli.rows import row_settings


def reported_tables() -> dict:
    """eval/tables/paper.yaml, with a row of the family for every method that has an experiment
    file and no line there; its label is the class's."""
    files = {name: CONFIGS / "experiment" / "family" / f"{name}.yaml" for name in METHODS}
    labels = {
        f"family/{name}": METHODS[name].label for name, file in files.items() if file.is_file()
    }
    return with_family_rows(load_reported(), labels)


def table_of(name: str, runs_dir: Path) -> Table:
    """A table with the runs in a directory.

    Composed are its own rows and those that the runs were made for: rows with the same settings
    share their runs. Raises what `eval.tables.lines.read_table` raises.
    """
    reported = reported_tables()
    rows = rows_named(reported, name)
    known = {row for table in table_names(reported) for row in rows_named(reported, table)}
    settings = row_settings(dict.fromkeys([*rows, *sorted(claimed_rows(runs_dir) & known)]))
    counts = row_counts({row: settings[row] for row in rows})
    return read_table(reported, name, runs_dir, settings, counts)
