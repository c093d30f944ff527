"""The cleaned E2E made from E2E's own files, against the published files' checksums."""

import pytest

from solo.cli.clean import make_clean, prepare_made
from solo.datasets import DATASETS
from solo.datasets.download import check_file

HEAD = "mr,ref\n"
OWN = {  # an MR, a text that says something else, and what becomes of the two
    "test": 'name[Zizzi],Zizzi is cheap.\n"name[Cocum], food[Indian]","An Indian, Cocum"\n',
    "valid": "food[French],Cocum is Indian.\nname[Cotto],Cotto is a pub.\nname[Aromi],Aromi\n",
    "train": "food[Indian],Aromi is a pub.\nfood[Indian],Cocum is French.\nname[Cotto],Cheap\n",
}
CLEAN = {
    "test": """\
mr,ref,fixed,orig_mr
"name[Zizzi], priceRange[cheap]",Zizzi is cheap.,1,name[Zizzi]
"name[Cocum], food[Indian]","An Indian, Cocum",0,"name[Cocum], food[Indian]"
""",
    "valid": """\
mr,ref,fixed,orig_mr
"name[Cotto], eatType[pub]",Cotto is a pub.,1,name[Cotto]
""",  # the first MR but for the name is one of the test set, the last one was before the cleaning
    "train": """\
mr,ref,fixed,orig_mr
"name[Cocum], food[French]",Cocum is French.,1,food[Indian]
priceRange[cheap],Cheap,1,name[Cotto]
""",  # the first is one of the validation set
}


def test_by_hand(tmp_path):
    own, out = ({split: tmp_path / f"{kind}-{split}.csv" for split in OWN} for kind in "ab")
    for split, path in own.items():
        path.write_text(HEAD + OWN[split])
    make_clean(own, out)
    assert {split: path.read_text() for split, path in out.items()} == CLEAN
    own["valid"].write_text(f"{HEAD}name[Zizzi],a\nname[The Kettle],b\n")
    with pytest.raises(ValueError, match=r"a-valid.csv, line 3: 'name\[The Kettle\]' is no MR of"):
        make_clean(own, out)


def test_the_published_files_are_made(tmp_path, real):
    """Of the development and test sets; the training set takes longer, its sum is checked when it
    is made."""
    data = real("E2E_DATA_DIR")
    splits = ("valid", "test")
    own = {split: data / DATASETS["e2e_raw"].splits[split].name for split in splits}
    files = {split: DATASETS["e2e_clean"].splits[split] for split in splits}
    make_clean(own, {split: tmp_path / file.name for split, file in files.items()})
    for file in files.values():
        check_file(tmp_path / file.name, file.sha256)


def test_what_is_there_is_checked_and_what_is_not_needs_e2e(tmp_path, monkeypatch):
    monkeypatch.setenv("E2E_DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("E2E_CLEAN_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere/trainset.csv is missing; `python scripts"):
        prepare_made()
    for file in DATASETS["e2e_clean"].splits.values():
        (tmp_path / file.name).write_text("mr,ref\n")
    with pytest.raises(ValueError, match="train-fixed.no-ol.csv .7 bytes. is not the published"):
        prepare_made()
