"""The table of a study: intervals and differences by hand, and the sample outputs."""

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from eval import samples
from eval.claims import Difference
from eval.latex import escaped
from eval.metrics import METRICS
from eval.metrics.statistics import save
from eval.tables import figures, neighbours
from eval.tables.groups import Group, Kind, claimed, groups_of, seed_spreads
from eval.tables.render import MISSING
from eval.tables.study import _others, backbones_of, names_right
from eval.tables.write import write_figures, write_table
from solo.cli.studies import claims_left_out, definition, outputs_page
from solo.cli.study_list import Question, kinds_of, read_list
from solo.cli.study_quotes import BORROWED
from solo.cli.tables import table_of
from solo.triples import content_sha256
from tests.eval.made_runs import DECODED, keep_statistics, make_run

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = "stand-in: 12 x 192 GPT-2"
ROWS = {"none": "family/none", "lora": "table1/lora_s", "solo": "table1/solo_s"}
ROUGE = np.array([0.2, 0.4, 0.6, 0.8])


def statistics(rouge: np.ndarray) -> dict[str, np.ndarray]:
    """Segment statistics with that ROUGE-L; all else the same in every segment."""
    same = {name: np.ones((len(rouge), len(m.columns))) for name, m in METRICS.items()}
    return same | {"ROUGE_L": rouge[:, None]}


def make(root, name, row, rouge, seed=1, **options):
    """A scored run on the stand-in."""
    scores = {"ROUGE_L": float(rouge.mean())}
    options = {"train": {"epochs": 1}, "stand_in": STAND_IN, "scores": scores} | options
    path = make_run(root, name, ROWS[row], seed, **options)
    keep_statistics(path, statistics(rouge), [f"MR {i}" for i in range(len(rouge))])
    return path


def study_table(runs_dir: Path):
    """The table of the study standin12 with the runs in a directory."""
    return table_of("standin12", runs_dir, definition("standin12"))


def cells(text: str, start: str, number: int = 0) -> list[str]:
    """The cells of a table line that begins with `start`."""
    found = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in found[number].strip("|").split("|")]


def test_claims_speak_of_runs_that_were_trained_as_the_list_says(tmp_path):
    """The list says bf16. Two seeds in fp32, at the chosen rate, do not come before one in bf16."""
    recipe = {"epochs": 1, "batch_size": 4, "precision": "bf16"}
    for seed in (1, 2):
        make(tmp_path, f"a{seed}", "solo", ROUGE, seed, train=recipe | {"precision": "fp32"})
    make(tmp_path, "b", "solo", ROUGE, train=recipe)
    make(tmp_path, "c", "solo", ROUGE, train=recipe, lr=3e-4)
    table = study_table(tmp_path)
    [kind] = {group.kind for group in groups_of(table)}
    table.definition["recipes"] = {kind: recipe}
    for rate, order in ((2e-4, ["b", "c", "a1"]), (3e-4, ["c", "b", "a1"])):
        table.definition["rates"] = {kind: rate}
        assert [group.runs[0].name for group in groups_of(table)] == order
    table.definition["recipes"], table.definition["rates"] = {}, {kind: 2e-4}
    assert groups_of(table)[0].runs[0].name == "a1"  # of the most seeds


def test_the_table_by_hand(tmp_path):
    """A difference that is the same in every MR has no spread; ROUGE-L is a mean over MRs, so its
    interval is that of a mean of four numbers."""
    for seed in (1, 2):
        make(tmp_path, f"lora{seed}", "lora", ROUGE + 0.05 * (seed - 1), seed)
        make(tmp_path, f"solo{seed}", "solo", ROUGE + 0.1 * seed, seed)
    make(tmp_path, "dev", "solo", ROUGE[::-1], adapter={"variant": "devcode"})
    text = write_table(study_table(tmp_path), tmp_path / "out")
    assert text.count(STAND_IN) == 1 and "no reproduction" in text.splitlines()[0]
    label = "Solo (r=128, s=0.4)"
    head, solo = cells(text, "method (stand-in)"), cells(text, label)
    place = head.index("ROUGE_L")
    # Means 60 and 70 of two seeds. The resampled mean has 1 of 4^4 draws at either end, and the
    # 2.5 % points lie at sums of 1.0 and 3.0: 0.2, 0.2, 0.2, 0.4 is drawn with p = 4/256.
    assert solo[:4] == [label, "122,449", "0.0002", "1, 2"]
    mean, _, interval = solo[place].partition(" [")
    assert mean == "65.00 ± 7.07"
    low, high = map(float, interval.strip("]").split(", "))
    assert low == pytest.approx(15 + 30, abs=5.1) and high == pytest.approx(15 + 70, abs=5.1)
    assert head[-1] == "names" and solo[-1] == "0.0 %"  # the output is the run's name, not A's
    differences = [line for line in text.splitlines() if "p=" in line]
    assert [line.split(" | ")[0] for line in differences] == [f"| {label}"] * 2 + [
        f"| {label}, devcode"
    ]
    of_seed = differences[1].split(" | ")
    assert of_seed[1] == "2" and "+15.00 (+15.00 to +15.00), p=0.0002" in of_seed
    assert cells(text, label, -1)[2:6] == ["2", "1.000", "0.800", "0.0200 to 0.0200"]
    drawn = {path.name for path in write_figures(study_table(tmp_path), tmp_path / "out")}
    assert drawn >= {"table_lambda.png", "table_loss.png"}


def test_the_committed_table_is_that_of_the_committed_runs(tmp_path):
    home = ROOT / "results" / "standin12"
    table = study_table(home / "runs")
    write_table(table, tmp_path)
    for name in ("table.md", "table.csv"):
        assert (tmp_path / name).read_text() == (home / name).read_text()
    page = outputs_page(table)
    assert page == (home / "outputs.md").read_text()
    kept = [path.read_text(encoding="utf-8") for path in (home / "runs").glob("*.tsv")]
    parts = [part.split("\n") for part in page.split("**name : ")[1:]]
    assert len(parts) == 10
    for source, _, _, _, *lines in parts:
        said = [line.strip("|").split(" | ") for line in lines if line]
        assert [label.strip() for label, *_ in said] == [
            "Full fine-tuning", "LoRA (r=8)", "Solo (r=128, s=0.4)", "Solo (r=128, s=0.4), devcode",
        ]  # fmt: skip
        for _, text, _ in said:
            assert any(f"{source.strip('*')}\t{text}\n" in file for file in kept)
    [line] = [
        x for x in page.splitlines() if "Solo (r=128, s=0.4) | The Blue Spice is located" in x
    ]
    assert line.endswith("| missing: eatType |")  # it does not say that it is a coffee shop


def test_outputs_are_not_shown_where_their_mrs_are_not_kept():
    home = ROOT / "results" / "standin12_webnlg"
    assert outputs_page(table_of(home.name, home / "runs", definition(home.name))) == ""


def test_pictures_show_what_is_compared_once_and_by_its_name(tmp_path, monkeypatch):
    """Of two seeds one, of rows that no claim names none; five epochs apart from one."""
    for seed in (1, 2):
        make(tmp_path, f"lora{seed}", "lora", ROUGE, seed)
    make(tmp_path, "solo", "solo", ROUGE)
    make(tmp_path, "five", "solo", ROUGE, train={"epochs": 5})
    make(tmp_path, "none", "none", ROUGE)
    labels = {}

    def keep(name):
        return lambda curves, title: labels.update({name: {curve.label for curve in curves}})

    for name in ("loss_curves", "lambda_curves"):
        monkeypatch.setattr(figures, name, keep(name))
    assert write_figures(study_table(tmp_path), tmp_path / "out") == []
    label = "Solo (r=128, s=0.4)"
    compared = {"LoRA (r=8)", label, f"{label}, 5 epochs"}
    assert labels["loss_curves"] == compared
    assert labels["lambda_curves"] == compared | {"The backbone as it is"}


def test_the_claims_of_a_study(tmp_path):
    """Those that both sides have runs for, by row, variant and epochs, and of these the seeds that
    both have; an interval is over seeds, too."""
    for seed in (1, 2):
        make(tmp_path, f"lora{seed}", "lora", ROUGE + 0.05 * (seed - 1), seed)
        make(tmp_path, f"solo{seed}", "solo", ROUGE + 0.1 * seed, seed)
        make(tmp_path, f"five{seed}", "solo", ROUGE, seed, train={"epochs": 5})
    make(tmp_path, "dev", "solo", ROUGE - 0.1, adapter={"variant": "devcode"})
    make(tmp_path, "more", "lora", ROUGE + 0.3, train={"epochs": 5})
    text = write_table(study_table(tmp_path), tmp_path / "out")
    claims = text.split("## Claims")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in claims.splitlines() if "? |" in line]
    label = "Solo (r=128, s=0.4)"
    assert [line[1:3] for line in lines] == [
        [f"{label} - LoRA (r=8)", "1, 2"],
        [f"{label}, devcode - LoRA (r=8)", "1"],
        [f"{label}, 5 epochs - LoRA (r=8), 5 epochs", "1"],
    ]
    # BLEU is the same in all. In ROUGE-L the three rows with two seeds move by 0.05, 0.1 and 0 from
    # one to the other, so that a seed moves a difference by 0.05 with two degrees of freedom: 95 %
    # of Student's t are within 4.3 times that, 0.22 for one seed and 0.15 for two.
    assert [line[3] for line in lines] == ["+0.00"] * 3
    assert [line[-1] for line in lines] == ["none", "none", "- ROUGE_L"]  # 0.125, -0.1, -0.3
    assert "One seed does so by 0.00 BLEU\n(standard deviation, 2 degrees" in claims
    assert all(line[3:7] == ["+0.00", "+0.00 to +0.00", "1.0000", "0.00"] for line in lines)


def test_fewer_slot_errors_are_better():
    """The sign of a claim says who is better, whatever the metric's direction."""
    better, worse = Difference(0.1, 0.3, -0.3, -0.1, 0.01), Difference(0.3, 0.1, 0.1, 0.3, 0.01)
    bleu = METRICS["BLEU"]
    assert _others({"BLEU": worse, "chrF": worse, "SER": better}, bleu) == "+ chrF, + SER"
    assert _others({"BLEU": worse, "chrF": better, "SER": worse}, bleu) == "- chrF, - SER"
    assert METRICS["SER"].head == "SER ↓" and METRICS["chrF"].head == "chrF"
    assert escaped("SER ↓") == r"SER $\downarrow$"


def test_the_pages_say_what_sweeps_and_runs_gave():
    """Every loss of a sweep, its best rate in bold, and BLEU and slot errors of every row."""
    home = ROOT / "results" / "standin12"
    page = (home / "protocol.md").read_text(encoding="utf-8")
    for path in (home / "rates").glob("*.json"):
        choice = json.loads(path.read_text())
        [best] = [f"{loss:.3f}" for rate, loss in choice["valid_losses"] if rate == choice["best"]]
        assert f" {best}**" in page, path
        losses = [loss for _, loss in choice["valid_losses"]]
        words = ["diverged" if loss is None else f"{loss:.3f}" for loss in losses]
        assert all(f" {word}" in page for word in words), path
    page = (home / "rows.md").read_text(encoding="utf-8")
    by_kind = defaultdict(list)
    for path in (home / "runs").glob("*.json"):
        run = json.loads(path.read_text())
        size, recipe = run["environment.json"]["train"]["n_params"], run["config.yaml"]["train"]
        cells = f" {size:,} | {recipe['lr']:g} |" if size else " 0 |"
        method = json.dumps(run["identity.json"]["training"]["adapter"])
        by_kind[cells, recipe["epochs"], method].append(run["metrics.json"])
    lines = {line for line in page.splitlines() if line.count("|") > 8}  # some rows stand twice
    for (cells, epochs, _), runs in by_kind.items():
        means = [100 * fmean(run[name] for run in runs) for name in ("BLEU", "SER")]
        found = []
        for line in lines:
            if cells in line.replace(BORROWED, "") and (" epochs |" in line) == (epochs > 1):
                written = [cell.strip() for cell in line.split("|")]  # from 5 on: seed 1, means
                shown = [float(cell.split(" ± ")[0]) for cell in written[6:8]]
                if written[4] == str(len(runs)) and shown == pytest.approx(means, abs=0.011):
                    found.append(line)
        assert len(found) == 1, (cells, means, found)


def test_whoever_shared_its_draws_is_another_seed(tmp_path):
    """Runs that drew their dropout with others stand with those that drew it alone, but a seed that
    comes twice stands in a line of its own: which one a difference takes would be chance."""
    for name, seed in (("alone", 1), ("a", 2), ("b", 1)):
        path = make(tmp_path, name, "lora", ROUGE, seed=seed)
        if name != "alone":
            identity = json.loads((path / "identity.json").read_text())
            identity["training"]["shared_draws"] = ["0a", name]
            (path / "identity.json").write_text(json.dumps(identity))
    group, again = groups_of(study_table(tmp_path))
    assert group.label == "LoRA (r=8)" and [run.name for run in group.runs] == ["alone", "a"]
    assert again.label == "LoRA (r=8), the same seed again"
    assert [run.name for run in again.runs] == ["b"] and again.kind == group.kind


def test_runs_with_other_rates_are_apart(tmp_path):
    make(tmp_path, "a", "lora", ROUGE, lr=1e-3)
    make(tmp_path, "b", "lora", ROUGE + 0.1, lr=2e-3)
    text = write_table(study_table(tmp_path), tmp_path / "out")
    for lr in ("0.001", "0.002"):
        assert cells(text, f"LoRA (r=8), 2 steps, lr {lr}")[2:4] == [lr, "1"]


def test_of_one_kind_the_chosen_rate_comes_first_else_the_most_seeds(tmp_path):
    """Whatever the directories are called: claims and quotes speak of the first."""
    for name, lr, seed in (("a", 1e-3, 1), ("b", 1e-3, 2), ("c", 3e-3, 1), ("d", 1e-4, 1)):
        make(tmp_path, name, "lora", ROUGE, lr=lr, seed=seed)
    table = study_table(tmp_path)
    assert [group.runs[0].lr for group in groups_of(table)] == [3e-3, 1e-3, 1e-4]
    del table.definition["rates"]
    assert groups_of(table)[0].runs[0].lr == 1e-3


def test_one_baseline_for_claims_and_differences(tmp_path):
    """Of two rates that the baseline was run with, the differences take the first group's, as the
    claims do."""
    make(tmp_path, "a", "lora", ROUGE, lr=1e-3)
    make(tmp_path, "b", "lora", ROUGE - 0.1, lr=2e-3)
    make(tmp_path, "c", "solo", ROUGE + 0.1, lr=1e-2)
    table = study_table(tmp_path)
    first = next(group for group in groups_of(table) if group.kind.row == ROWS["lora"])
    text = write_table(table, tmp_path / "out")
    against = text.split("\n## Against")[1].split("\n## ")[0]
    [row] = [line for line in against.splitlines() if "(r=128" in line]
    gain = 100 * (float(np.mean(ROUGE)) + 0.1 - first.runs[0].scores["ROUGE_L"])
    assert f" {gain:+.2f} ({gain:+.2f} to " in row


def test_a_claim_is_of_the_first_group_of_its_kind(tmp_path):
    """Of several rates that a side was run with, the chosen one's runs answer the question."""
    make(tmp_path, "a", "lora", ROUGE, lr=1e-3)
    make(tmp_path, "b", "lora", ROUGE - 0.1, lr=2e-3)
    make(tmp_path, "c", "solo", ROUGE + 0.1, lr=1e-2)
    table = study_table(tmp_path)
    solo, lora = (
        next(group.kind for group in groups_of(table) if group.kind.row == ROWS[name])
        for name in ("solo", "lora")
    )
    table.definition["claims"] = [["Is it better?", solo, lora]]
    for rate, name in ((1e-3, "a"), (2e-3, "b")):
        table.definition["rates"] = {lora: rate}
        [(_, groups, words)] = claimed(table, groups_of(table))
        assert [group.runs[0].name for group in groups] == ["c", name] and words == ""


def test_a_score_that_a_run_of_a_group_lacks_tells_nothing_of_seeds():
    """Runs that were scored before a metric came stand beside those that have it."""
    scores = [{"BLEU": 0.5, "SER": 0.1}, {"BLEU": 0.6}, {"BLEU": 0.4, "SER": 0.2}]
    runs = [SimpleNamespace(seed=seed, scores=of_run) for seed, of_run in enumerate(scores)]
    groups = [Group("x", Kind("x", None, 1), some) for some in (runs[:2], runs[1:])]
    groups += [Group("y", Kind("y", None, 1), runs[:2])]
    assert "SER" not in seed_spreads(groups)


def test_the_baseline_is_the_row_as_it_is(tmp_path):
    """Not one with another option of the method, whichever comes first."""
    make(tmp_path, "a", "lora", ROUGE - 0.1, adapter={"alpha": 64.0})
    make(tmp_path, "b", "lora", ROUGE)
    make(tmp_path, "c", "solo", ROUGE + 0.1)
    text = write_table(study_table(tmp_path), tmp_path / "out")
    against = text.split("\n## Against")[1].split("\n## ")[0]
    [row] = [line for line in against.splitlines() if "(r=128" in line]
    assert " +10.00 (+10.00 to " in row


def test_names_are_found_in_both_spellings_of_an_mr(tmp_path):
    """And places at equal distances are what they say, of few MRs all."""
    path = tmp_path / "h.tsv"
    mrs = ("name[Aromi], eatType[pub]", "name : Cotto | area : riverside", "area : riverside")
    texts = ("Aromi is a pub .", "The cotto is by the river .", "By the river .")
    lines = [f"{mr}\t{text}" for mr, text in zip(mrs, texts, strict=True)]
    path.write_text("\n".join(["MR\toutput", *lines]) + "\n")
    (tmp_path / "predictions.tsv").write_text(path.read_text())
    assert names_right([SimpleNamespace(decoding=tmp_path)]) == "50.0 %"
    assert samples.spaced(12, 10) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert samples.spaced(1, 3) == [0] and samples.spaced(630, 10)[1] == 63


def test_a_difference_takes_no_seed_from_another_group(tmp_path):
    """The baseline's second seed was run at another rate: its difference would be of both."""
    for name, seed, lr in (("a", 1, 3e-3), ("b", 2, 1e-1)):
        make(tmp_path, name, "lora", ROUGE, seed, lr=lr)
        make(tmp_path, f"solo{seed}", "solo", ROUGE + 0.1, seed)
    text = write_table(study_table(tmp_path), tmp_path / "out")
    against = text.split("\n## Against")[1].split("\n## ")[0]
    assert [line.split(" | ")[1] for line in against.splitlines() if "(r=128" in line] == ["1"]


def test_a_page_says_whose_numbers_it_has(tmp_path):
    """Marks that are not of a stand-in make no stand-in; a mixture is told as one."""
    make(tmp_path / "hub", "a", "lora", ROUGE, stand_in=None)
    make(tmp_path / "own", "b", "lora", ROUGE, path="tiny")
    shutil.copytree(tmp_path / "hub", tmp_path / "both")
    shutil.copytree(tmp_path / "own", tmp_path / "both", dirs_exist_ok=True)
    said = {
        name: backbones_of(groups_of(study_table(tmp_path / name)))
        for name in ("hub", "own", "both", "none")
    }
    assert said["hub"].startswith("Every number is of openai-community/gpt2, each method at the ")
    assert "train.epochs=1 (the row has 5)" in said["hub"] and "stand-in" not in said["hub"]
    assert said["own"] == (
        f"Every number is of a stand-in backbone: {STAND_IN}. None is a reproduction."
    )
    assert "of openai-community/gpt2 stand beside those of a stand-in backbone" in said["both"]
    assert said["none"] == "No run yet."


@pytest.mark.parametrize("broken", ["seeds", "statistics", "references"])
def test_a_claim_whose_runs_cannot_be_compared_says_why(tmp_path, broken):
    """The page has the other claims, and a quote does not say that nothing was run."""
    for name, lr in (("lora", 2e-4), ("solo", 2e-4)):
        make(tmp_path, name, name, ROUGE, lr=lr)
    odd = make(
        tmp_path,
        "dev",
        "solo",
        ROUGE,
        seed=2 if broken == "seeds" else 1,
        adapter={"variant": "devcode"},
        references="other" if broken == "references" else None,
    )
    if broken == "statistics":
        (odd / DECODED / "statistics.json").unlink()
    why = {
        "seeds": "they have no seed in common: 2 and 1",
        "statistics": "dev has no statistics; scripts/evaluate.py leaves them",
        "references": "were scored against different references",
    }[broken]
    table = study_table(tmp_path)
    table.definition["claims"] = table.definition["claims"][:2]
    claims = write_table(table, tmp_path / "out").split("## Claims")[1].split("\n## ")[0]
    [question] = [q for q, _, words in claimed(table, groups_of(table)) if why in words]
    assert f"No answer: {question} (" in claims and claims.count("| 1 | +0.00") == 1
    listed = read_list("standin12")
    listed = replace(listed, claims=listed.claims[:2])
    [told] = claims_left_out(listed, table)
    assert told.startswith(f"the claim {question!r} is left out: ") and why in told


def test_questions_without_an_answer_count_in_holms_correction(tmp_path, monkeypatch):
    make(tmp_path, "lora", "lora", ROUGE)
    make(tmp_path, "solo", "solo", ROUGE)
    table, found = study_table(tmp_path), Difference(0.5, 0.4, 0.05, 0.15, 0.003)
    monkeypatch.setattr("eval.tables.study.compare", lambda *parts: {"BLEU": found})
    claims = write_table(table, tmp_path / "out").split("## Claims")[1].split("\n## ")[0]
    [line] = [line for line in claims.splitlines() if line.endswith(" | none |")]
    asked = len(table.definition["claims"])
    assert asked > 9 and line.split(" | ")[5] == f"{0.003 * asked:.4f}"


def test_runs_that_decode_or_train_otherwise_are_apart(tmp_path):
    """A mean of two beams or two batch sizes would be of neither."""
    for seed in (1, 2):
        make(tmp_path, f"a{seed}", "lora", ROUGE, seed=seed)
    make(tmp_path, "b", "lora", ROUGE + 0.1, decode={"beam": 1})
    make(tmp_path, "c", "lora", ROUGE + 0.2, train={"epochs": 1, "batch_size": 8})
    found = {group.label: len(group.runs) for group in groups_of(study_table(tmp_path))}
    assert found == {
        f"LoRA (r=8), 2 steps, lr 0.0002, train.batch_size={size}, decode.beam={beam}": n_runs
        for size, beam, n_runs in ((4, 10, 2), (4, 1, 1), (8, 10, 1))
    }


def test_runs_with_another_option_of_the_method_are_apart_and_claims_name_them(tmp_path):
    make(tmp_path, "a", "solo", ROUGE)
    make(tmp_path, "b", "solo", ROUGE + 0.1, adapter={"dropout": 0.01})
    groups = groups_of(study_table(tmp_path))
    of_names = kinds_of(read_list("standin12"))
    kinds = [of_names[name] for name in ("solo", "solo_drop")]
    assert [group.kind for group in groups] == kinds
    labels = [group.label for group in groups]
    assert labels == ["Solo (r=128, s=0.4)", "Solo (r=128, s=0.4), dropout=0.01"]
    [claim] = [claim for claim in definition("standin12")["claims"] if claim[1] == kinds[1]]
    assert claim[2] == kinds[0]


def test_a_claim_that_no_run_answers_is_told(tmp_path):
    for name in ("lora", "solo"):
        make(tmp_path, name, name, ROUGE)
    claims = [Question("Is it?", "solo", "lora"), Question("And then?", "solo_5", "lora")]
    listed = replace(read_list("standin12"), claims=claims)
    table, kinds = study_table(tmp_path), kinds_of(listed)
    table.definition["claims"] = [[c.question, kinds[c.a], kinds[c.b]] for c in claims]
    assert claims_left_out(listed, table) == [
        "the claim 'And then?' is left out: no run in results/standin12/runs is of solo_5"
    ]


def test_whole_runs_beside_the_chosen_rate(tmp_path):
    """By rate, of the same row, variant and seed alone, each against the chosen one's run."""
    chosen, beside = tmp_path / "runs", tmp_path / "neighbours"
    for seed in (1, 2):
        make(chosen, f"lora{seed}", "lora", ROUGE, seed, lr=3e-3)
    make(chosen, "solo", "solo", ROUGE, lr=3e-3)
    make(chosen, "dev", "solo", ROUGE, lr=3e-3, adapter={"variant": "devcode"})
    worse = {"BLEU": 0.5}
    make(beside, "above", "lora", ROUGE, lr=1e-2, scores=worse)
    make(beside, "below", "lora", ROUGE, lr=1e-3)
    make(beside, "of dev", "solo", ROUGE, lr=1e-2, adapter={"variant": "devcode"})
    page = neighbours.markdown(study_table(chosen), study_table(beside))
    lora = [cells(page, "LoRA (r=8)", number) for number in range(3)]
    assert page.count("| LoRA (r=8) |") == 3  # nothing beside the other seed
    assert [line[1:3] for line in lora] == [["1", "0.001"], ["1", "**0.003**"], ["1", "0.01"]]
    assert lora[2][3] == "50.00" and {line[-2] for line in lora} == {"0.800"}
    assert lora[1][-1] == "" and lora[0][-1] == lora[2][-1] == "+0.00 (+0.00 to +0.00), p=1.0000"
    dev = [cells(page, "Solo (r=128, s=0.4), devcode", number)[2] for number in (0, 1)]
    assert dev == ["**0.003**", "0.01"] and page.count("| Solo") == 2


def test_what_trains_nothing_has_no_rate(tmp_path):
    make(tmp_path, "a", "none", ROUGE, n_params=0)
    text = write_table(study_table(tmp_path), tmp_path / "out")
    assert cells(text, "The backbone as it is")[1:3] == ["0", MISSING]


def test_ten_samples(tmp_path):
    """The largest differences, both ways, and four others; texts and references of those MRs."""
    random = np.random.default_rng(5)
    rouge, other = random.random(30), random.random(30)
    names = [f"name : {i}" for i in range(30)]
    references = tmp_path / "test.txt"
    references.write_text("".join(f"{name}||reference {i} .\n" for i, name in enumerate(names)))
    paths = []
    for side, values in (("A", rouge), ("B", other)):
        path = make_run(tmp_path, side, "table1/solo_s", stand_in=STAND_IN)
        lines = "".join(f"{name}\t{side} says {i}\n" for i, name in enumerate(names))
        (path / DECODED / "predictions.tsv").write_text("MR\toutput\n" + lines)
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["evaluate"] = {"references": str(references)}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        files = (path / DECODED / "predictions.tsv", references)
        hashes = [content_sha256(file) for file in files]
        inputs = dict(zip(("predictions", "references"), hashes, strict=True))
        order = list(range(30)) if side == "A" else list(range(30))[::-1]  # by MR, not by place
        ordered = statistics(values[order])
        save(path / DECODED / "statistics.json", ordered, [names[i] for i in order], inputs)
        paths.append(path)
    out = tmp_path / "samples.md"
    assert samples.main([*map(str, paths), "--out", str(out)]) == 0
    blocks = out.read_text().split("**")[1:]
    heads, bodies = blocks[::2], blocks[1::2]
    assert heads == ["A best"] * 3 + ["A worst"] * 3 + ["random"] * 4
    shown = [int(body.splitlines()[0].removeprefix(": name : ")) for body in bodies]
    ranked = sorted(range(30), key=lambda i: other[i] - rouge[i])
    assert shown[:3] == ranked[:3] and shown[3:6] == ranked[::-1][:3] and len(set(shown)) == 10
    for i, body in zip(shown, bodies, strict=True):
        assert f"- reference: reference {i} ." in body
        assert f"- A, {100 * rouge[i]:.1f}: A says {i}\n" in body
        assert f"- B, {100 * other[i]:.1f}: B says {i}\n" in body
    page = samples.markdown(*paths, None, "AB", with_reference=False)
    assert "reference" not in page and page.count("- A, ") == 10
    assert samples.main([str(paths[0]), str(tmp_path / "none")]) == 2


def test_no_sample_is_shown_twice():
    """Of few MRs the best are not the worst, too."""
    picked = samples.chosen(np.array([0.4, 0.3, 0.2, 0.1]))
    assert picked == [("A best", 0), ("A best", 1), ("A best", 2), ("A worst", 3)]


def test_a_table_sign_in_an_output_cuts_no_cell(tmp_path):
    (tmp_path / "predictions.tsv").write_text("MR\toutput\nname : A\tA | B\n")
    assert "| x | A \\| B |  |" in samples.outputs([("x", tmp_path)], 1)


@pytest.mark.parametrize("folder", ["runs", "neighbours"])
def test_predictions_come_with_the_attribution_of_their_mrs(folder):
    runs = ROOT / "results" / "standin12" / folder
    notice = (runs / "README.md").read_text(encoding="utf-8")
    assert list(runs.glob("*.tsv"))
    for words in ("E2E NLG", "Novikova", "Dušek", "Rieser", "by-sa/4.0", "linearised"):
        assert words in notice


@pytest.mark.parametrize("other", ["backbones", "data"])
def test_claims_compare_runs_of_one_backbone_and_the_same_data(tmp_path, other):
    """Of several of a kind the two that belong together; where none do, why it has no answer."""
    apart = {"path": "bb2"} if other == "backbones" else {"data": {"train": "other"}}
    for name, more in (("a", {}), ("b", apart)):
        make(tmp_path, f"lora-{name}", "lora", ROUGE, **more)
    make(tmp_path, "solo", "solo", ROUGE, **apart)
    table = study_table(tmp_path)
    question, (one, two), words = next(c for c in claimed(table, groups_of(table)) if len(c[1]) > 1)
    assert not words and {run.name for group in (one, two) for run in group.runs} == {
        "lora-b",
        "solo",
    }
    labels = [group.label for group in groups_of(table)]
    assert len(set(labels)) == len(labels) == 3
    assert any(word in label for label in labels for word in ("backbone=bb2", "data.train=other"))
    shutil.rmtree(tmp_path / "lora-b")
    table = study_table(tmp_path)
    [words] = {words for q, _, words in claimed(table, groups_of(table)) if q == question}
    assert f"are of different {other}" in words
