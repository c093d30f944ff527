"""What an experiment file asks of its row, read as plain YAML: a table knows what a row is.

Composes as Hydra does for the groups named here (a test holds the two together): the group's file,
the files that it names as its own defaults, then the experiment's overlay.
"""

from functools import cache
from pathlib import Path

import yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GROUPS = ("model", "data", "adapter", "train", "decode")


@cache
def row_settings(row: str) -> dict:
    """{"model": {...}, "data": ..., "adapter": ..., "train": ..., "decode": ...} of a row.

    `row` is an experiment's name, e.g. table2/solo_s_r64; interpolations stay as written.
    Raises FileNotFoundError for an unknown row.
    """
    path = CONFIGS / "experiment" / f"{row}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"no experiment file for row {row!r}: {path} is missing")
    overlay, chosen = _load(path), {}
    for entry in (*_load(CONFIGS / "config.yaml")["defaults"], *overlay["defaults"]):
        if isinstance(entry, dict):
            [(group, name)] = entry.items()
            chosen[group.removeprefix("override ").removeprefix("/")] = name
    return {group: _group(group, chosen[group]) | overlay.get(group, {}) for group in GROUPS}


def same_rows(rows: list[str]) -> dict[str, set[str]]:
    """Each row with all rows (itself among them) whose settings are the same: they share runs."""
    settings = {row: row_settings(row) for row in rows}
    return {row: {other for other in rows if settings[other] == settings[row]} for row in rows}


def _group(group: str, name: str) -> dict:
    values = _load(CONFIGS / group / f"{name}.yaml")
    merged = {}
    for base in values.pop("defaults", []):
        merged |= _group(group, base)
    return merged | values


def _load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
