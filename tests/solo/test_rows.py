"""The one reader of data files: training and the scorer see the same rows in the same files."""

import csv

import pytest

from eval.readers import load
from solo import rows
from solo.datasets import data


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_lines_end_where_the_scorer_sees_them_end(tmp_path):
    """Odd line ends, and characters that only some splitters take for one."""
    lines = ["name : A\u2028B||A\x0b .", "", "name : C||C\x85.", " name : D || D . "]
    (tmp_path / "a.txt").write_bytes("\r\n".join(lines[:3]).encode() + b"\r" + lines[3].encode())
    rows = [("name : A\u2028B", "A\x0b ."), ("name : C", "C\x85."), ("name : D ", " D .")]
    assert data.read_pairs(tmp_path / "a.txt") == rows
    (tmp_path / "hyps.txt").write_text("x\ny\nz\n")
    [scored] = load(tmp_path / "a.txt", [tmp_path / "hyps.txt"], "lora")
    assert scored.references == [["A ."], ["C ."], ["D ."]]


@pytest.mark.parametrize("name", ["e2e[12]/t.txt", "t*.txt", "t?.txt", "zip::t.txt", "hf:/t.csv"])
def test_a_path_is_a_path(tmp_path, name):
    """No pattern, although others match it, and no protocol."""
    for other in ("e2e1/t.txt", "ta.txt", "tb.txt"):
        write(tmp_path / other, "name : Wrong||Wrong .\n")
    write(tmp_path / name, "mr,ref\nname[A],A .\n" if "csv" in name else "name : A||A .\n")
    assert data.read_pairs(tmp_path / name) == [("name : A", "A .")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '\ufeff"mr","ref"\n"name[A], food[B]",A .\n'),
        ("a.CSV", 'MR,Ref\n"name[A], food[B]",A .\n'),
        ("a.csv", 'no,source,human ref\n1,"name[A], food[B]",A .\n'),
        ("a.csv", 'mr,ref,ref_2,orig_mr\n"name[A], food[B]",A .,x,y\n'),
        ("a.csv", 'dataset,meaning,human_rating,target 1\nx,"name[A], food[B]",3,A .\n'),
        ("a.tsv", "mr\tref\r\nname[A], food[B]\tA .\r\n"),
        ("a.TSV", 'mr,ref\n"name[A], food[B]",A .\n'),
        ("a.txt", "\ufeffname : A | food : B||A .\n"),
        ("a.TXT", "\nname : A | food : B||A .\n\n"),
    ],
)
def test_training_and_scoring_read_alike(tmp_path, name, text):
    path = write(tmp_path / name, text)
    assert data.read_pairs(path) == [("name : A | food : B", "A .")]
    [(mr, _)] = data.read_prompts(path)
    hypotheses = write(tmp_path / "hyps.tsv", f"MR\toutput\n{mr}\tx\n")
    [scored] = load(path, [hypotheses])
    assert (scored.sources, scored.references) == ([mr], [["A ."]])


def test_reading_a_table_leaves_the_csv_modules_limit_as_it_was(tmp_path):
    before = csv.field_size_limit()
    rows.read_table(tmp_path / "a.csv", ["mr,ref\n", "a,b\n"], False, [])
    assert csv.field_size_limit() == before
