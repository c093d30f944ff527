"""Data of one's own: a CSV, TSV or JSON Lines file with an MR and a text a row.

The columns are found by their names (solo/rows.py); the model reads an MR as the file has it, in
one line, and so its text. docs/own_data.md is the guide.
"""

from solo.datasets.base import Row, Source, columns_read, read_table
from solo.rows import TABLES, one_line


def parse(row: dict) -> Row:
    """A row of the table."""
    context = one_line(row["mr"]).strip()
    if not context:
        raise ValueError("the MR is empty; write what the text is to say")
    text = row.get("ref")
    if text is not None:
        text = one_line(text).strip()
        if not text:
            raise ValueError("the text is empty; write one, or leave the row out")
    return Row(row["mr"], context, text)


SOURCE = Source(
    read_table,
    parse,
    suffixes=TABLES,
    licence="its own",
    note=columns_read,
    remedy="set data.train_path, data.valid_path, data.test_path to files of your own",
)
