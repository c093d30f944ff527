"""E2E NLG as LoRA's repository linearised and tokenised it: lines `context||completion`.

Source: microsoft/LoRA, examples/NLG/data/e2e, at the commit below, made from the official CSVs by
its format_converting_e2e.py.
"""

from pathlib import Path

from solo.datasets.base import Row, Source, SourceFile, read_text

URL = (
    "https://raw.githubusercontent.com/microsoft/LoRA/"
    "c4593f060e6a368d7bb5af5273b8e42810cdef90/examples/NLG/data/e2e"
)
SHA256 = {
    "train": "eae319082237310913d9f37f6a891d48fb3f821f29d86870d2cb4f92ddd72c5a",
    "valid": "ba963113c8401d3d26216c0dc0a6dae1ea6ea927de3bf830e32c41f65401c80d",
    "test": "81b1bcd40c4f12845ec4eb61a77bf43765d112483cd9b2f91ef10bfc1b3d8f13",
}


def read(path: Path) -> dict[str, list]:
    """The file's lines; of a test set without references, lines `name : X | ...` alone, as
    contexts."""
    columns = read_text(path)
    if all("||" not in line and " : " in line for line in columns["text"]):
        columns["context"] = columns.pop("text")
    return columns


def parse(row: dict) -> Row:
    """`name : X | Type : pub||X is a pub .`; the MR as read is the context."""
    if "context" in row:
        context, completion = row["context"].strip(), None
    else:
        context, separator, completion = row["text"].strip().partition("||")
        if not separator:
            raise ValueError(
                f"no '||' between context and completion in {row['text'][:60]!r}; a table of your "
                "own is called .csv, .tsv or .jsonl"
            )
    if not context.strip():
        raise ValueError("the MR is empty; write it as 'name : ... | Type : ...'")
    return Row(context, context, completion)


SOURCE = Source(
    read,
    parse,
    suffixes=(".txt",),
    splits={
        split: SourceFile(f"lora_format/{split}.txt", f"{URL}/{split}.txt", sha256)
        for split, sha256 in SHA256.items()
    },
)
