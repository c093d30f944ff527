"""The cleaned E2E files, made from E2E's own: solo/ has the data, eval/ finds the slots in a text.

The rule is that of tuetschek/e2e-cleaning (164acdf, README): the MR of every text becomes what the
text says, and what another part of the data has too is left out, so that the test set stays whole.
"""

from pathlib import Path

from eval.metrics.slot_errors import read_mr, said
from solo import rows
from solo.datasets import download, e2e_clean, e2e_raw
from solo.files import write_text

COLUMNS = ("mr", "ref", "fixed", "orig_mr")
ORDER = (
    "name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near",
)  # fmt: skip
Row = tuple[str, str, int, str]  # as COLUMNS


def prepare_made(directory: Path | None = None) -> Path:
    """Have the cleaned files ready without a network: what is missing is made from E2E's own files.

    Returns their folder. Raises FileNotFoundError without E2E's own, ValueError for a file that is
    not the published one.
    """
    directory = Path(directory) if directory else download.e2e_clean_dir()
    own = {split: download.e2e_dir() / file.name for split, file in e2e_raw.SOURCE.splits.items()}
    published = e2e_clean.SOURCE.splits
    missing = {
        split: directory / file.name
        for split, file in published.items()
        if not (directory / file.name).exists()
    }
    if missing:
        for split, path in own.items():
            download.check_file(path, e2e_raw.SOURCE.splits[split].sha256)
        make_clean(own, missing)
    download.verify(directory, {file.name: file.sha256 for file in published.values()})
    return directory


def make_clean(own: dict[str, Path], out: dict[str, Path]) -> None:
    """Write cleaned files.

    own: E2E's own CSVs of the splits valid, test and, if it is made, train; out: where the cleaned
    ones go. Raises ValueError for an MR that is none of E2E's.
    """
    fixed = {split: _fixed(path) for split, path in own.items()}
    test = {_without_names(mr) for row in fixed["test"] for mr in (row[0], row[3])}
    valid = {_without_names(row[0]) for row in fixed["valid"]}
    elsewhere = {"train": test | valid, "valid": test, "test": set()}
    for split, path in out.items():
        kept = [row for row in fixed[split] if _without_names(row[0]) not in elsewhere[split]]
        write_text(path, rows.csv_text([COLUMNS, *kept]))


def _fixed(path: Path) -> list[Row]:
    """Every row of a file with the MR that its text has."""
    table = rows.read_table(path, rows.read_lines(path), False, [])
    fixed = []
    for number, (source, text) in table.rows:
        mr = read_mr(source)
        if mr is None:
            raise ValueError(f"{path}, line {number}: {source!r} is no MR of E2E")
        found = said(text, mr)
        new = ", ".join(
            f"{slot}[{value}]" for slot in ORDER for value in sorted(found.get(slot, ()))
        )
        fixed.append((new, text, int(new != source), source))
    return fixed


def _without_names(mr: str) -> tuple[tuple[str, str], ...]:
    """What has to differ between the splits: an MR but for the names in it."""
    return tuple(
        (slot, "" if slot in ("name", "near") else value) for slot, value in rows.SLOT.findall(mr)
    )
