"""Write a table and its picture from the runs in a directory."""

from pathlib import Path

from eval import figures, tables
from eval.files import replace, replace_text

PLAIN = ("demo",)  # tables that nobody reported figures for


def write_table(name: str, runs_dir: Path, out_dir: Path) -> str:
    """Write NAME.md, NAME.csv and NAME_curves.png into `out_dir`; returns the Markdown.

    The demo's table is Table 1 in miniature and has its name. Raises ValueError for an unknown
    table.
    """
    reported = tables.load_reported()
    known = [key for key, value in reported.items() if isinstance(value, dict) and "rows" in value]
    if name not in known:
        raise ValueError(f"unknown table {name!r}; known: {', '.join(known)}")
    table, (runs, broken) = reported[name], tables.read_runs(runs_dir)
    if name in PLAIN:
        markdown, text = tables.plain_markdown(table, runs, broken), tables.plain_csv(table, runs)
    else:
        markdown = tables.comparison_markdown(table, runs, broken)
        text = tables.comparison_csv(table, runs)
    stem = "table1" if name in PLAIN else name
    replace_text(out_dir / f"{stem}.md", markdown)
    replace_text(out_dir / f"{stem}.csv", text)
    labelled = [
        (row["label"] + (" *" if run.marks else ""), run)
        for row, filling in tables.rows_of(table, runs)
        for run in filling
    ]
    if labelled:
        marked = any(run.marks for _, run in labelled)
        note = "\n* stand-in backbone or partial run: not a reproduction" if marked else ""
        figure = figures.curves(labelled, table["title"] + note)
        replace(out_dir / f"{stem}_curves.png", lambda path: figure.savefig(path, dpi=120))
    return markdown
