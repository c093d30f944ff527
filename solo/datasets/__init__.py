"""The data sets by the names that configs/data gives. Another is a module, a line, a config."""

from pathlib import Path

from solo.datasets import e2e, e2e_clean, e2e_raw, own, webnlg
from solo.datasets.base import Source

DATASETS: dict[str, Source] = {
    "e2e": e2e.SOURCE,
    "e2e_raw": e2e_raw.SOURCE,
    "e2e_clean": e2e_clean.SOURCE,
    "own": own.SOURCE,
    "webnlg": webnlg.SOURCE,
}


def source_of(path: Path, name: str | None = None) -> Source:
    """The kind of a data file: the data set `name`, unless the file's suffix says otherwise.

    It does if it is another data set's and not that one's: data=e2e with a CSV for data.test_path
    is read as a CSV. Without name and with an unknown suffix: LoRA's lines. Raises ValueError for
    an unknown name.
    """
    if name is not None and name not in DATASETS:
        raise ValueError(f"data.name is {name!r}; known: {', '.join(DATASETS)}")
    source, suffix = DATASETS[name or "e2e"], Path(path).suffix.lower()
    owners = [owner for owner in DATASETS.values() if suffix in owner.suffixes]
    return owners[0] if owners and source not in owners else source


def kind_of(path: Path, name: str | None = None) -> str:
    """The name of the data set as which a file is read; see source_of."""
    source = source_of(path, name)
    return next(kind for kind, other in DATASETS.items() if other is source)
