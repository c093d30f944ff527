"""E2E NLG as LoRA's repository linearised and tokenised it: lines `context||completion`.

Source: microsoft/LoRA, examples/NLG/data/e2e, at the commit below, made from the official CSVs by
its format_converting_e2e.py.
"""

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


def parse(row: dict) -> Row:
    """`name : X | Type : pub||X is a pub .`; the MR as read is the context."""
    context, separator, completion = row["text"].strip().partition("||")
    if not separator:
        raise ValueError(f"no '||' between context and completion in {row['text'][:60]!r}")
    slots = dict(part.split(" : ", 1) for part in context.split(" | ") if " : " in part)
    if not slots.get("name", "").strip():
        raise ValueError(f"the MR {context[:60]!r} has no name; it needs 'name : ...'")
    return Row(context, context, completion)


SOURCE = Source(
    read_text,
    parse,
    suffixes=(".txt",),
    splits={
        split: SourceFile(f"lora_format/{split}.txt", f"{URL}/{split}.txt", sha256)
        for split, sha256 in SHA256.items()
    },
)
