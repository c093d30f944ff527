"""What a data set says of itself, and the two ways in which its files are read.

A data set is one module with a `Source` and one line in solo/datasets/__init__.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

OFFICIAL_METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")


class Row(NamedTuple):
    """One row of a data file."""

    mr: str  # the input as the file has it; predictions carry it
    context: str  # the input as the model reads it
    completion: str  # the text that the model is to write


class SourceFile(NamedTuple):
    """A file of a data set: its path below the data's folder, its address, its checksum."""

    name: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """A kind of data file.

    read: a file's columns, each a list with a value a row: `read_text`, `read_csv`, or any function
        that gives such a dict. ValueError for a file that is not of this kind.
    parse: one row, {column: value}, as a Row; ValueError says what is wrong with it.
    suffixes: where the data set is not named, a file with one of these suffixes is of this kind.
    splits: the published files by split; empty for data of one's own.
    references: the split whose own completions, grouped by MR, are the references.
    metrics: what scores it, by the names of eval.
    """

    read: Callable[[Path], Mapping[str, Sequence]]
    parse: Callable[[dict], Row]
    suffixes: tuple[str, ...] = ()
    splits: dict[str, SourceFile] = field(default_factory=dict)
    references: str = "test"
    metrics: tuple[str, ...] = OFFICIAL_METRICS


def read_text(path: Path):
    """A UTF-8 file as the column `text`, a row a line.

    On a machine without the package `datasets` (a lent GPU, say) a dict in place of its table.
    """
    path = Path(path)
    _check_filled(path)
    try:
        return _load("text", path)
    except ImportError:
        with open(path, encoding="utf-8") as file:  # universal line ends, split at them alone
            return {"text": [line.rstrip("\n") for line in file]}


def read_csv(path: Path, columns: Sequence[str]):
    """A UTF-8 CSV with a header that names at least `columns`."""
    path = Path(path)
    _check_filled(path)
    try:  # an empty reference is an empty text, not a missing value
        table = _load("csv", path, keep_default_na=False, na_filter=False)
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package datasets (python -m pip install datasets); "
            "without it use LoRA's text files (data=e2e)"
        ) from error
    if not set(columns) <= set(table.column_names):
        raise ValueError(
            f"{path} has columns {table.column_names}; it needs {' and '.join(columns)}"
        )
    return table


def _check_filled(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"data file {path} not found; run `make data`, or set E2E_DATA_DIR to its folder"
        )
    if path.stat().st_size == 0:
        raise _no_rows(path)


def _no_rows(path: Path) -> ValueError:
    return ValueError(f"{path} has no rows; fetch it again with `make data`")


def _load(builder: str, path: Path, **options):
    """A local file as a table of the package `datasets`, kept in its cache."""
    import datasets  # here, so that encoding and batching import without it

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(builder, data_files=str(path), split="train", **options)
    except Exception as error:
        cause = error.__cause__ or error
        raise ValueError(f"{path} cannot be read as UTF-8 {builder} ({cause})") from error
    if len(table) == 0:
        raise _no_rows(path)
    return table
