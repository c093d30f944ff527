"""What systems say, MR by MR: texts beside their scores, and marks where the words are."""

import shutil
from pathlib import Path

import pytest

from eval.formats import read_hypotheses
from eval.metrics.slot_errors import marks, read_mr
from eval.report import outputs, runs


def test_a_text_cut_at_its_marks():
    text, marks = "😀 ab cd", [[3, 5, "s", "right"], [4, 6, "s", "wrong"], [-1, -1, "t", "missing"]]
    assert runs.pieces(text, marks) == [("😀 ", "", ""), ("ab", "right", "s"), (" cd", "", "")]


def of_hypotheses(path: Path, *lines: str) -> outputs.System:
    path.write_text("\n".join(["MR\toutput", *lines]) + "\n", encoding="utf-8")
    return outputs.System(path.stem, "x", "kind", "page", path, None)


def test_an_mr_that_comes_twice_keeps_both_outputs(tmp_path):
    """In their order; the texts stand beside the scores of the same rows."""
    system = of_hypotheses(tmp_path / "a.tsv", "A\tone", "A\ttwo", "B\tthree")
    for sources, texts in ((["A", "A", "B"], ["one", "two", "three"]),
                           (["B", "A", "A"], ["three", "one", "two"])):  # fmt: skip
        of_set = outputs.Set("set1", "own", sources, {})
        assert outputs.content_of(of_set, system)["texts"] == texts


def test_marks_stand_where_the_words_are():
    """A letter that grows in lower case moves none."""
    text = "İzmir lies in Turkey."
    [mark] = [m for m in outputs._marks("A_B : location : Turkey", text) if m[3] == "right"]
    assert text[mark[0] : mark[1]] == "Turkey"
    mr = read_mr("name[Aromi], eatType[pub], area[riverside]")
    [found] = [m for m in marks(mr, "İn the riverside area , Aromi is a pub .") if m.slot == "area"]
    assert "İn the riverside area"[found.start : found.end] == "riverside"


def test_a_file_of_other_mrs_in_the_challenges_folder_is_told_and_the_rest_shown(tmp_path, real):
    systems, e2e = real("E2E_SYSTEMS_DIR"), real("E2E_DATA_DIR")
    shutil.copy(systems / "tgen.tsv", tmp_path)
    of_hypotheses(tmp_path / "mine.tsv", "name[Aromi], eatType[pub]\tAromi is a pub .")
    sources = list(dict.fromkeys(read_hypotheses(tmp_path / "tgen.tsv", []).sources))
    of_set = outputs.Set("set1", "E2E, test set", sources, {})
    [told] = outputs.add_challenge([of_set], tmp_path, e2e)
    assert "not scored" in told and "mine.tsv" in told
    [tgen] = of_set.systems
    assert tgen.label == "tgen" and len(tgen.statistics["BLEU"]) == len(sources)


@pytest.mark.parametrize("source", ["name[A, B], eatType[pub]", "name : A, B | eatType : pub"])
def test_both_spellings_of_an_mr(source):
    assert outputs.slots_of(source) == [["name", "A, B"], ["eatType", "pub"]]
