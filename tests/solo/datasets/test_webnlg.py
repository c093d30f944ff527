"""WebNLG: the published files as LoRA's recipe reads them, bad files, and a run in miniature."""

import json
from contextlib import nullcontext

import pytest

from solo.cli.evaluate import evaluate_runs
from solo.datasets import data, webnlg
from solo.datasets.download import check_file
from solo.runs.config import from_values
from solo.runs.run import make_run
from solo.runs.runner import run_all
from solo.triples import folder_sha256, read_triples
from tests.solo.runs.conftest import quiet, values  # noqa: F401

HEAD = '<?xml version="1.0"?>\n'


def entry(subject: str, *texts: str, category="Airport", comment="good", n=1) -> str:
    triples = "".join(f"<mtriple>{subject} | p{i} | o {i}</mtriple>" for i in range(n))
    lexes = "".join(f'<lex comment="{comment}" lid="Id1">{text}</lex>' for text in texts)
    return (
        f'<entry category="{category}" eid="Id7" size="{n}">'
        f"<modifiedtripleset>{triples}</modifiedtripleset>{lexes}</entry>"
    )


def write(path, *entries: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(entries)
    path.write_text(f"{HEAD}<benchmark><entries>{body}</entries></benchmark>\n", encoding="utf-8")
    return path


def test_the_published_files(real):
    """Counts of the source's page; steps of LoRA's recipe: 5 epochs of batch 8 are 11,270."""
    folder = real("WEBNLG_DATA_DIR")
    train, valid, test = (
        list(zip(*webnlg.read(folder / name).values(), strict=True))
        for name, _ in webnlg.FILES.values()
    )
    assert len(train) == 18025 and 5 * -(-len(train) // 8) == 11270
    assert train[0] == (
        'Aarhus_Airport : cityServed : "Aarhus, Denmark"',
        "The Aarhus is the airport of Aarhus, Denmark.",
    )
    assert len(valid) == 2258
    assert len(test) == 4928 and len({source for source, _ in test}) == 1862
    for split, (name, sha256) in webnlg.FILES.items():
        assert check_file(folder / name, sha256) == sha256, split


def test_a_row_that_is_too_long_is_named_by_its_number(tmp_path, tokenizer):
    write(tmp_path / "1triples/A.xml", entry("S", "one", "two " * 200))
    with pytest.raises(ValueError, match="row 2 has .* tokens, the backbone 192 positions"):
        data.load_examples(tmp_path, tokenizer, 192, "webnlg")


def test_rows_are_the_good_texts_in_the_order_of_the_paths(tmp_path):
    write(tmp_path / "2triples/B.xml", entry("S", "later", n=2))
    bad = entry("T", "bad", comment="toFix")
    write(tmp_path / "1triples/A.xml", entry("S", "one", "two &amp; three"), bad)
    assert data.read_pairs(tmp_path, "webnlg") == [
        ("S : p0 : o 0", "one"),
        ("S : p0 : o 0", "two & three"),
        ("S : p0 : o 0 | S : p1 : o 1", "later"),
    ]
    before = folder_sha256(tmp_path)
    (tmp_path / "2triples/B.xml").rename(tmp_path / "2triples/C.xml")
    assert folder_sha256(tmp_path) != before


def test_a_file_without_texts_can_be_decoded_and_not_be_trained_on(tmp_path):
    path = write(tmp_path / "no_lex.xml", entry("S"), entry("T"))
    assert data.read_prompts(path) == [("S : p0 : o 0",) * 2, ("T : p0 : o 0",) * 2]
    with pytest.raises(ValueError, match="no_lex.xml has MRs but no texts"):
        data.read_pairs(path)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><benchmark>&b;</benchmark>'
BAD = {
    "<benchmark><entries>": "is no WebNLG XML: no element found",
    BOMB: "it declares a document type",
    "<html/>": "its root is <html>, not a <benchmark> with <entries>",
    "<benchmark><entries><entry/></entries></benchmark>": "is no <entry> with a category",
    '<benchmark><entries><entry category="A" eid="Id3"/></entries></benchmark>': (
        "entry Id3 has no <modifiedtripleset> with triples"
    ),
    '<benchmark><entries><entry category="A"><modifiedtripleset><mtriple>a | b</mtriple>'
    "</modifiedtripleset></entry></entries></benchmark>": "entry 1: 'a | b' is no triple",
}


@pytest.mark.parametrize(("content", "said"), BAD.items(), ids=range(len(BAD)))
def test_bad_files_are_one_line_with_their_name(tmp_path, content, said):
    (tmp_path / "bad.xml").write_text(HEAD + content)
    with pytest.raises(ValueError) as error:
        read_triples(tmp_path / "bad.xml")
    assert said in str(error.value) and f"{tmp_path / 'bad.xml'}" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_a_category_without_texts(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone is missing; clone https://github.com/"):
        data.read_pairs(tmp_path / "gone", "webnlg")
    with pytest.raises(FileNotFoundError, match="has no XML files, .*; clone"):
        data.read_pairs(tmp_path, "webnlg")
    none = entry("T", category="City", comment="toFix")
    path = write(tmp_path / "a.xml", entry("S", "one"), none)
    with pytest.raises(ValueError, match="a.xml: no entry of category 'City' has a lexicalisation"):
        data.read_pairs(path)


def test_a_run_in_miniature(tmp_path, values):  # noqa: F811
    """Two steps, three MRs of two categories, scores by part; a test MR in training is said."""
    folder = tmp_path / "webnlg"
    write(folder / "train/a.xml", *(entry(s, f"{s} it is .") for s in "ABCDEFGH"))
    write(folder / "dev/a.xml", entry("D", "D ."))
    test = [entry("X", "X is it .", "It is X ."), entry("A", "A .")]
    write(folder / "test.xml", *test, entry("Y", "Y .", category="Artist"))
    paths = {"train_path": "train", "valid_path": "dev", "test_path": "test.xml"}
    paths = {key: str(folder / name) for key, name in paths.items()}
    values["data"] |= paths | {"name": "webnlg", "references_path": paths["test_path"]}
    values["evaluate"] = {"references": paths["test_path"]}
    run, said = make_run(from_values(values)), []
    outcome = run_all(
        [run], lambda *label: nullcontext(quiet), "done", evaluate_runs, say=said.append
    )
    assert not outcome.failures
    assert "note: 1 of the test MRs are in the training set, too" in said
    written = json.loads((run.decoding / "metrics.json").read_text())
    names = {
        f"{m} {p}" for m in ("BLEU", "METEOR", "TER", "chrF") for p in ("all", "seen", "unseen")
    }
    assert names <= set(written) and "NIST" not in written
    assert written["details"]["n_segments"] == 3
    stages = json.loads((run.directory / "environment.json").read_text())
    assert stages["train"]["steps"] == 2 and stages["train"]["test_mrs_in_training"] == 1
    scored = (run.decoding / "environment.json").read_text()
    evaluate_runs([run])
    assert (run.decoding / "environment.json").read_text() == scored  # not scored again
