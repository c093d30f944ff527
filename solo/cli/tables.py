"""Tables with all that they are made from: definitions, rows' settings, counts, finished runs."""

from collections.abc import Iterable
from pathlib import Path

from eval.tables.lines import Table, read_table, rows_named, table_names
from eval.tables.runs import noted_rows
from solo.cli.command import say
from solo.cli.counts import doubt, row_counts
from solo.cli.rows import own_settings, reported_tables, row_settings


def table_of(name: str, runs_dir: Path, definition: dict | None = None) -> Table:
    """A table with the runs in a directory; of a study, with its definition (solo/cli/studies.py).

    Composed are its own rows and those that the runs were made for: rows with the same settings
    share their runs. Raises what `eval.tables.lines.read_table` raises.
    """
    reported = reported_tables()
    if definition:
        reported = reported | {name: definition}
    rows = rows_named(reported, name)
    known = {row for table in table_names(reported) for row in rows_named(reported, table)}
    settings = row_settings(dict.fromkeys([*rows, *sorted(noted_rows(runs_dir) & known)]))
    settings |= {} if definition else own_settings(name)
    counts = row_counts({row: settings[row] for row in rows})
    return read_table(reported, name, runs_dir, settings, counts, doubt)


def tell_left_out(lines: Iterable[str]) -> bool:
    """Say which run directories a table leaves out; whether one of them is damaged."""
    for line in lines:
        say(line)
    return any(": left out, unfinished: " not in line for line in lines)
