"""The demo data against rules written down here, without the generator's own functions."""

import csv
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from solo.datasets import data
from solo.datasets.download import E2E_FILES, write_sums
from solo.datasets.e2e_raw import linearise
from solo.files import file_sha256
from solo.standin import demo_data
from solo.standin.demo_data import write_demo_data
from solo.standin.grammar import RESTAURANT

SMALL = dict(train_rows=400, valid_rows=60, test_mrs=24)
PAIRS = {
    "trainset.csv": "lora_format/train.txt",
    "devset.csv": "lora_format/valid.txt",
    "testset_w_refs.csv": "lora_format/test.txt",
}
RENAMED = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}

# How a value may be said where the text does not hold it literally; our own list, to hold the
# grammar to it. `#` is the value.
SAID = {
    ("priceRange", "cheap"): "cheap|low prices",
    ("priceRange", "moderate"): "fairly priced|fair prices",
    ("priceRange", "high"): "expensive|high prices",
    ("customer rating", "*"): "# customer ratings|customer rating of #|rated # by customers",
    ("familyFriendly", "yes"): "(?<!not )family-friendly|welcomes families|is good for children",
    ("familyFriendly", "no"): "not family-friendly|not welcome families|not good for children",
    ("food", "*"): r"\b# (food|dishes|menu|restaurant|pub|bistro|tea room|diner|place)",
    ("area", "*"): "in the #",
    ("near", "*"): "(near|close to) #",
    ("priceRange", "*"): "(prices|charges) #",
    ("eatType", "*"): r"\b#\b",
    ("name", "*"): r"\b#\b",
}


def made(folder, **sizes):
    counts = write_demo_data(folder, **{**SMALL, **sizes})
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")}, counts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    write_demo_data(folder, seed=0, **SMALL)
    return folder


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["mr"], row["ref"]) for row in csv.DictReader(file)]


def lines(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def parse(mr):
    return [tuple(part[:-1].split("[")) for part in mr.split(", ")]


def all_rows(folder):
    return [row for name in PAIRS for row in rows(folder / name)]


def test_same_seed_same_bytes_in_another_process_too(tmp_path):
    first, _ = made(tmp_path / "a", seed=3)
    code = (
        f"from solo.standin.demo_data import write_demo_data as w; from pathlib import Path;"
        f"w(Path({str(tmp_path / 'b')!r}), seed=3, **{SMALL!r})"
    )
    root = Path(data.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=env)
    again = {str(p.relative_to(tmp_path / "b")): p for p in (tmp_path / "b").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in again.items()} == first
    other, _ = made(tmp_path / "c", seed=4)
    assert other["trainset.csv"] != first["trainset.csv"]


def test_bytes_are_those_of_other_pythons_and_platforms(folder):
    """Checksums of seed 0, written by Python 3.11 on Linux; a change of the grammar moves them."""
    sums = dict(reversed(line.split("  ")) for line in lines(folder / "SHA256SUMS"))
    assert sums["lora_format/train.txt"][:16] == "a177c7fe352ef2d5"


def test_layout_is_that_of_the_e2e_folder_and_sums_are_right(folder):
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    data_files = {*PAIRS, *PAIRS.values()}
    assert names == data_files | {"SHA256SUMS"}
    sums = dict(reversed(line.split("  ")) for line in lines(folder / "SHA256SUMS"))
    assert sums == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in data_files
    }
    for name in PAIRS:
        assert (folder / name).read_bytes().startswith(b"mr,ref\n")


@pytest.mark.skipif("E2E_DATA_DIR" not in os.environ, reason="needs E2E_DATA_DIR")
def test_layout_equals_the_real_folder(folder):
    real = Path(os.environ["E2E_DATA_DIR"])
    ours = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    theirs = {p.relative_to(real).as_posix() for p in real.rglob("*") if p.is_file()}
    assert ours == theirs
    slots = [slot for mr, _ in rows(real / "trainset.csv") for slot, _ in parse(mr)]
    order = {slot: i for i, (slot, _) in enumerate(parse(longest(real / "trainset.csv")))}
    assert set(slots) == set(order)
    assert parse(longest(folder / "trainset.csv")) and all(
        order[slot] == i for i, (slot, _) in enumerate(parse(longest(folder / "trainset.csv")))
    )


def longest(path):
    return max((mr for mr, _ in rows(path)), key=lambda mr: mr.count("["))


@pytest.mark.parametrize("csv_name", PAIRS)
def test_linearised_file_is_the_csv_tokenised(folder, csv_name):
    expected = []
    for mr, ref in rows(folder / csv_name):
        parts = [
            f"{RENAMED.get(slot, slot)} : {value.replace('£', '£ ')}" for slot, value in parse(mr)
        ]
        text = ref
        for mark, spaced in ((".", " ."), (",", " ,"), ("-", " - "), ("£", "£ ")):
            text = text.replace(mark, spaced)
        expected.append(f"{' | '.join(parts)}||{text} ")
    assert lines(folder / PAIRS[csv_name]) == expected
    contexts = [line.split("||")[0] for line in expected]  # the reader of the raw CSVs agrees
    assert [linearise(mr) for mr, _ in rows(folder / csv_name)] == contexts


def test_sizes_counts_and_references(folder, tmp_path):
    _, counts = made(tmp_path)
    for name, expected in (("trainset.csv", 400), ("devset.csv", 60)):
        assert len(rows(folder / name)) == expected
        assert counts[name] == counts[PAIRS[name]]
    for name in PAIRS:
        refs = {}
        for mr, ref in rows(folder / name):
            refs.setdefault(mr, []).append(ref)
            assert 3 <= len(parse(mr)) <= 8
        assert all(2 <= len(texts) <= 6 for texts in refs.values())
        assert all(len(set(texts)) == len(texts) for texts in refs.values())
        assert counts[name] == (len(rows(folder / name)), len(refs))
    assert counts["testset_w_refs.csv"][1] == 24
    assert {len(parse(mr)) for mr, _ in rows(folder / "trainset.csv")} == set(range(3, 9))


def test_splits_are_disjoint_and_test_names_mostly_new(folder):
    mrs = {name: {mr for mr, _ in rows(folder / name)} for name in PAIRS}
    train, valid, test = mrs.values()
    assert not train & valid and not train & test and not valid & test
    known = {parse(mr)[0] for mr in train | valid}
    new = [mr for mr in test if parse(mr)[0] not in known]
    assert len(new) >= 0.7 * len(test)


def test_no_mr_is_in_two_splits_even_where_there_are_few(tmp_path, monkeypatch):
    """A grammar so small that random draws would meet all the time."""
    few = [slot for slot in RESTAURANT.slots if slot.key in ("eatType", "area", "familyFriendly")]
    small = RESTAURANT._replace(names=RESTAURANT.names[:4], slots=few)
    monkeypatch.setattr(demo_data, "RESTAURANT", small)
    _, counts = made(tmp_path, train_rows=300, valid_rows=60)
    mrs = [{mr for mr, _ in rows(tmp_path / name)} for name in PAIRS]
    assert sum(map(len, mrs)) == len(set.union(*mrs)) == sum(counts[name][1] for name in PAIRS)


def test_every_value_is_said_in_every_text(folder):
    seen = set()
    for mr, ref in all_rows(folder):
        for slot, value in parse(mr):
            seen.add((slot, value))
            pattern = SAID.get((slot, value)) or SAID[slot, "*"]
            assert re.search(pattern.replace("#", re.escape(value)), ref, re.I), (slot, value, ref)
    assert {slot for slot, _ in seen} == {slot.key for slot in RESTAURANT.slots} | {"name"}
    for slot in RESTAURANT.slots:
        assert len({value for key, value in seen if key == slot.key}) > len(slot.values) / 2


def test_no_text_says_a_value_that_its_mr_lacks(folder):
    """Copied values only: landmarks, areas, food, names cannot come from nowhere."""
    copied = [slot for slot in RESTAURANT.slots if slot.key in ("food", "area", "near")]
    for mr, ref in all_rows(folder):
        given = dict(parse(mr))
        for slot in copied:
            said = {value for value in slot.values if re.search(rf"\b{value}\b", ref)}
            assert said <= {given.get(slot.key)} | {v for v in slot.values if v in given["name"]}


def test_texts_read_well(folder):
    texts = [ref for _, ref in all_rows(folder)]
    for text in texts:
        assert text == " ".join(text.split()) and text.endswith(".") and text[0].isupper()
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text, re.I), text
        assert not re.search(r"[~{}/#;|]| [.,]|\.\.|,,|\. [a-z]|\b(\w+) \1\b", text), text
    words = [len(re.findall(r"[\w£]+|[.,-]", text)) for text in texts]
    assert sum(words) / len(words) <= 25


@pytest.mark.parametrize("sizes", [{"train_rows": 1}, {"valid_rows": 1}, {"test_mrs": 0}])
def test_sizes_too_small(tmp_path, sizes):
    with pytest.raises(ValueError, match="at least 2 rows and 1 MR") as error:
        write_demo_data(tmp_path / "x", **sizes)
    (name, value), *_ = sizes.items()
    assert f"{name}={value}" in str(error.value) and not (tmp_path / "x").exists()


def test_script_writes_and_counts(tmp_path):
    root = Path(data.__file__).resolve().parents[2]
    command = [sys.executable, str(root / "scripts" / "prepare_data.py"), "demo", "--dir"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"trainset\.csv +3,000 +\d+\n", done.stdout)
    assert re.search(r"testset_w_refs\.csv +\d+ +60\n", done.stdout)
    assert done.stderr.endswith(f"next: python scripts/reproduce.py demo data.dir={tmp_path}\n")


def test_the_demo_replaces_its_own_files_and_no_others(tmp_path):
    sizes = SMALL | {"train_rows": 4, "valid_rows": 2}
    for seed in (1, 2):
        write_demo_data(tmp_path, seed, **sizes)
    path = tmp_path / "testset_w_refs.csv"
    path.write_text("precious")  # and then as a download leaves it, with its checksum
    for sums in ("", hashlib.sha256(b"precious").hexdigest() + "  testset_w_refs.csv\n"):
        (tmp_path / "SHA256SUMS").write_text(sums)
        with pytest.raises(ValueError, match=".csv is not the demo's, and is not"):
            write_demo_data(tmp_path, 3, **sizes)
    assert path.read_text() == "precious"


def test_a_file_of_the_demo_that_was_changed_since_is_kept(tmp_path):
    sizes = SMALL | {"train_rows": 4, "valid_rows": 2}
    write_demo_data(tmp_path, 1, **sizes)
    (tmp_path / "devset.csv").write_text("precious")
    with pytest.raises(ValueError, match="devset.csv is not the demo's, and is not"):
        write_demo_data(tmp_path, 2, **sizes)
    assert (tmp_path / "devset.csv").read_text() == "precious"


def test_the_demo_leaves_e2e_s_own_folder_alone(tmp_path, monkeypatch):
    """Which a download leaves with a SHA256SUMS of the same six names."""
    for name in E2E_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"E2E's own {name}")
    sums = {name: file_sha256(tmp_path / name) for name in E2E_FILES}
    write_sums(tmp_path, sums)
    monkeypatch.setattr("solo.standin.demo_data.E2E_SUMS", sums)
    with pytest.raises(ValueError, match=".csv is not the demo's, and is not"):
        write_demo_data(tmp_path, 0, **SMALL | {"train_rows": 4, "valid_rows": 2})
    assert {name: file_sha256(tmp_path / name) for name in E2E_FILES} == sums


def test_the_demo_leaves_a_folder_alone_that_lists_other_files_too(tmp_path):
    """A checksum of its own makes no file the demo's: a folder that lists more is another's."""
    sizes = SMALL | {"train_rows": 4, "valid_rows": 2}
    write_demo_data(tmp_path, 1, **sizes)
    (tmp_path / "mine.csv").write_text("precious")
    with open(tmp_path / "SHA256SUMS", "a") as sums:
        sums.write(hashlib.sha256(b"precious").hexdigest() + "  mine.csv\n")
    with pytest.raises(ValueError, match=".csv is not the demo's, and is not"):
        write_demo_data(tmp_path, 2, **sizes)
