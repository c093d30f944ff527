"""What systems say, MR by MR: texts beside their scores, and marks where the words are."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval.formats import read_hypotheses
from eval.metrics.slot_errors import marks, read_mr
from eval.report import outputs, runs, scores


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


def test_the_interval_of_several_seeds_is_not_a_runs_own():
    """A run's page has its line's interval only where the line is of this run alone."""
    run, score = (
        SimpleNamespace(scores={"BLEU": 0.6}),
        scores.ReportScore("60.00", 60.0, 58.0, 62.0),
    )
    for behind, interval in (([run], "58.00, 62.00"), ([run, run], "")):
        line = SimpleNamespace(runs=behind, scores={"BLEU": score})
        assert [shown[2] for shown in runs._scores(run, line)] == [interval]


def test_a_run_with_other_counts_of_the_same_mrs_is_left_out(tmp_path):
    """It decoded a part of the test set: one of an MR that comes twice."""
    lines = []
    for name, said in (("whole", "A\tone\nA\ttwo\nB\tthree\n"), ("part", "A\tone\nB\tthree\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.tsv").write_text("MR\toutput\n" + said)
        options = {"data": {"test": "of both"}}
        run = SimpleNamespace(decoding=tmp_path / name, options=options, outputs=None)
        lines.append(SimpleNamespace(label=name, runs=[run], data="E2E", backbone="x", badge=""))
    table = SimpleNamespace(lines=lines)
    [found] = outputs.sets_of([table], lambda run: f"runs/{run.decoding.name}", lambda run: None)
    assert [system.name for system in found.systems] == ["whole"]


def test_runs_of_one_line_have_their_seeds_and_their_scores_in_the_set_s_order(tmp_path):
    """Two runs, the second of which decoded the MRs the other way round."""
    sums = {"BLEU": np.arange(12.0).reshape(2, 6)}
    made = []
    for seed, mrs in ((1, ["A", "B"]), (2, ["B", "A"])):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = "".join(f"{mr}\ttext of {mr}\n" for mr in mrs)
        (folder / "predictions.tsv").write_text("MR\toutput\n" + rows)
        kept = SimpleNamespace(statistics=sums, sources=mrs)
        options = {"data": {"test": "of both"}}
        made.append(SimpleNamespace(decoding=folder, options=options, outputs=kept, seed=seed))
    line = SimpleNamespace(label="LoRA", runs=made, data="E2E", backbone="x", badge="")
    [found] = outputs.sets_of(
        [SimpleNamespace(lines=[line])], lambda run: f"runs/{run.decoding.name}", lambda run: None
    )
    assert [system.label for system in found.systems] == ["LoRA, seed 1 (x)", "LoRA, seed 2 (x)"]
    kept = [system.statistics["BLEU"].tolist() for system in found.systems]
    assert kept == [sums["BLEU"].tolist(), sums["BLEU"][::-1].tolist()]
    only = SimpleNamespace(**vars(line) | {"runs": made[:1]})
    [found] = outputs.sets_of(
        [SimpleNamespace(lines=[only])], lambda run: "runs/1", lambda run: None
    )
    assert [system.label for system in found.systems] == ["LoRA (x)"]


def test_a_segment_s_score_is_scaled_as_tables_scale_it():
    found = outputs._scores({"ROUGE_L": np.array([[0.75], [0.5]])}, 2)
    assert found == {"ROUGE-L": [75.0, 50.0]}


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


def test_a_text_is_cut_at_its_marks_and_of_two_that_overlap_the_first_stays():
    """Places are those of JavaScript, where the cup is two."""
    text = "☕🍵 The Mill is a pub ."
    marks = [
        [18, 21, "eatType", "right"], [4, 12, "name", "right"], [8, 12, "near", "wrong"],
        [12, 15, "area", "added"], [-1, -1, "food", "missing"],
    ]  # fmt: skip
    assert runs.pieces(text, marks) == [
        ("☕🍵 ", "", ""), ("The Mill", "right", "name"), (" is", "added", "area"), (" a ", "", ""),
        ("pub", "right", "eatType"), (" .", "", ""),
    ]  # fmt: skip
    assert runs.pieces("", []) == []


def test_runs_of_two_lines_of_one_label_have_their_seeds_and_e2e_comes_first(tmp_path):
    (tmp_path / "predictions.tsv").write_text("MR\toutput\nA\tone\n")
    lines = []
    for seed, data in enumerate(("generated", "WebNLG", "E2E", "E2E")):
        options = {"data": {"test": data}}
        run = SimpleNamespace(decoding=tmp_path, options=options, outputs=None, seed=seed)
        lines.append(SimpleNamespace(label=data, runs=[run], data=data, backbone="x", badge=""))
    table = SimpleNamespace(lines=lines)
    found = outputs.sets_of([table], lambda run: f"runs/{run.seed}", lambda run: None)
    titles = ["E2E, test set", "WebNLG, test set", "generated restaurants"]
    assert [of_set.title for of_set in found] == titles
    labels = [[system.label for system in of_set.systems] for of_set in found]
    assert labels == [["E2E, seed 2 (x)", "E2E, seed 3 (x)"], ["WebNLG (x)"], ["generated (x)"]]


def test_a_systems_scores_stand_beside_the_mrs_of_the_set(tmp_path, monkeypatch):
    """In whichever order the official references have them."""
    mrs = ["name[Aromi], eatType[pub]", "name[Zizzi], eatType[pub]"]
    of_hypotheses(tmp_path / "tgen.tsv", *(f"{mr}\tx" for mr in mrs))
    (tmp_path / "testset_w_refs.csv").touch()
    scored = SimpleNamespace(statistics={"BLEU": np.array([[1.0], [2.0]])}, sources=mrs[::-1])
    monkeypatch.setattr(outputs, "score_files", lambda *paths, failures: [scored])
    of_set = outputs.Set("set1", "E2E, test set", mrs, {})
    assert outputs.add_challenge([of_set], tmp_path, tmp_path) == []
    assert of_set.systems[0].statistics["BLEU"].tolist() == [[2.0], [1.0]]


def test_which_end_of_a_triple_is_missing_is_said():
    found = outputs._marks("A_B : leader : C", "C rules .")
    assert found == [[-1, -1, "A_B of A_B leader: C", "missing"], [0, 1, "A_B leader: C", "right"]]
