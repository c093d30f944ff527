"""WebNLG 2017, the XML as released: sets of triples and texts, linearised as LoRA's recipe does.

Source: fuzihaofzh/webnlg-dataset at the commit below, folder webnlg_challenge_2017. Linearisation,
filter and order are those of microsoft/LoRA, examples/NLG/src/format_converting_webnlg.py: a row
for each lexicalisation that is marked "good", files in the order of their paths, which is that of
the recipe's dev.json, entry by entry. A training or a validation set is a folder of files.
"""

from collections.abc import Mapping
from pathlib import Path

from solo.datasets.base import Row, Source, SourceFile
from solo.triples import read_triples

COMMIT = "1c777e2"
FILES = {  # path below the data's folder, checksum (of a folder: solo.triples.folder_sha256)
    "train": ("train", "05013542631373b3727e4eb236ef9bc0ddfeadf03bbf2746a956d0c0be87b81b"),
    "valid": ("dev", "33b5bb7192323ebabaeb82a5a14aa446e78dc06e0896facce68689963944a2c2"),
    "test": (
        "test/testdata_with_lex.xml",
        "43287905cbfe47697232d569ea6ff072d598282da2ea022bc435ca26b943cd93",
    ),
}
URL = f"https://github.com/fuzihaofzh/webnlg-dataset/tree/{COMMIT}/webnlg_challenge_2017"


def read(path: Path) -> dict[str, list]:
    """The entries' MRs and texts, a row for each text; where no entry has one, for each entry."""
    entries = read_triples(path)
    pairs = [(entry.mr, text) for entry in entries for text in entry.texts]
    if not pairs:
        return {"mr": [entry.mr for entry in entries]}
    mrs, texts = zip(*pairs, strict=True)
    return {"mr": list(mrs), "text": list(texts)}


def parse(row: Mapping[str, str]) -> Row:
    """The MR is the context: `subject : property : object | ...`."""
    return Row(row["mr"], row["mr"], row.get("text"))


SOURCE = Source(
    read,
    parse,
    suffixes=(".xml",),
    splits={
        split: SourceFile(name, f"{URL}/{name}", sum_) for split, (name, sum_) in FILES.items()
    },
    metrics="webnlg",
    remedy="clone https://github.com/fuzihaofzh/webnlg-dataset and set WEBNLG_DATA_DIR to its "
    "folder webnlg_challenge_2017",
    licence="WebNLG 2017 (Gardent et al. 2017, https://github.com/fuzihaofzh/webnlg-dataset), "
    "whose page names CC BY-NC-SA 4.0",
)
