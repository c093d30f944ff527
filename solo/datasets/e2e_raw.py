"""The official E2E NLG CSVs, or TSVs: an MR and a text a row; MRs linearised, texts untouched.

Source: tuetschek/e2e-dataset at the commit below. The linearisation is that of microsoft/LoRA,
examples/NLG/src/format_converting_e2e.py.
"""

import re

from solo.datasets.base import Row, Source, SourceFile, read_table
from solo.rows import SLOT

URL = (
    "https://raw.githubusercontent.com/tuetschek/e2e-dataset/"
    "ab0d967dd5729ce455ef14ba9ffafc456a335264"
)
FILES = {
    "train": (
        "trainset.csv",
        "f27d48df45815288ab15619d47a79028c300fbb7f42e373668aba0b98c1d57c6",
    ),
    "valid": (
        "devset.csv",
        "fc26b78cdb849c80545f513b223d1e051138b43882eeb79e3eb153e689c864f9",
    ),
    "test": (
        "testset_w_refs.csv",
        "edc8db685e39bb9824d5bd70c18b1c9b0412d14b527aa960e2d1c8251ee15ccd",
    ),
}
SLOT_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}


def linearise(mr: str) -> str:
    """`name[X], eatType[pub]` -> `name : X | Type : pub`, as LoRA's files write it.

    Raises ValueError for text that is not a list of slot[value].
    """
    slots, end = [], 0
    for match in SLOT.finditer(mr):
        if match.start() != end:
            break
        slots.append((match[1].strip(), match[2].strip()))
        end = match.end()
    if not slots or end != len(mr):
        raise ValueError(f"cannot read the MR {mr!r}; write it as name[X], eatType[pub], ...")
    parts = [f"{SLOT_NAMES.get(name, name)} : {_space_symbols(value)}" for name, value in slots]
    return " | ".join(parts)


def _space_symbols(value: str) -> str:
    """LoRA's files are tokenised: a pound sign stands apart from its number, and so on."""
    return re.sub(r"\s+", " ", re.sub(r"(£|-)", r" \1 ", value)).strip()


def parse(row: dict) -> Row:
    """A row of the table."""
    return Row(row["mr"], linearise(row["mr"]), row.get("ref"))


SOURCE = Source(
    read_table,
    parse,
    suffixes=(".csv", ".tsv"),
    splits={
        split: SourceFile(name, f"{URL}/{name}", sha256) for split, (name, sha256) in FILES.items()
    },
)
