"""The report's front page: each claim of the paper with what the runs say of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eval.report import claims, scores
from eval.tables.lines import load_reported
from solo.cli.studies import definition
from solo.cli.tables import table_of
from tests.eval.made_runs import keep_statistics, make_run

ROOT = Path(__file__).resolve().parents[2]
REPORTED = load_reported()


def test_a_verdict_is_what_the_interval_says(tmp_path):
    """BLEU's statistics of one run are those of a good system, of the other of a poor one."""
    rows = {"good": [10, 10, 10, 9, 8, 7], "poor": [10, 10, 5, 2, 1, 1]}
    for row, kind in (("table1/solo_s", "good"), ("table1/lora_s", "poor")):
        directory = make_run(tmp_path, kind, row=row, mrs=20)
        sources = [f"name : A{i or ''}" for i in range(20)]
        keep_statistics(directory, {"BLEU": np.array([rows[kind]] * 20, float)}, sources)
    table = scores.of_table(table_of("table1", tmp_path))
    as_ours = [line for line in table.lines if line.runs]
    assert [line.kind for line in as_ours] == ["other"] * 2  # 20 MRs are no reproduction
    assert claims.judge([table], REPORTED, {})[0].reproduction.verdict == claims.OPEN
    good, poor = (
        next(line.runs for line in as_ours if line.row == row)
        for row in ("table1/solo_s", "table1/lora_s")
    )
    assert claims._better([good, poor], as_ours, "").verdict == claims.HOLDS
    assert claims._better([poor, good], as_ours, "").verdict == claims.FAILS
    assert claims._better([good, good], as_ours, "").verdict == claims.UNDECIDED


def test_the_front_has_the_interval_of_the_studys_own_table():
    """results/standin12/table.md: Solo against LoRA, and no run of another dropout."""
    table = table_of("standin12", ROOT / "results/standin12/runs", definition("standin12"))
    rows = ["table1/solo_s", "table1/lora_s"]
    verdict = claims._better(*claims._sides([scores.of_table(table)], [rows], "stand-in"), "")
    text = (ROOT / "results/standin12/table.md").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("| Does Solo match LoRA with")]
    figure, interval = line.split(" | ")[3:5]
    assert (verdict.figure, verdict.interval) == (f"{figure} BLEU", interval)


def test_a_study_of_real_weights_is_a_reproduction_and_never_mixed_with_a_stand_in(tmp_path):
    """While it has one of the two rows alone, the stand-in's verdict stays the stand-in's."""
    [gpt2] = [sha for sha, hub in REPORTED["weights"].items() if hub == "openai-community/gpt2"]
    stand_in = table_of("standin12", ROOT / "results/standin12/runs", definition("standin12"))
    stand_in = scores.of_table(stand_in)

    def judged() -> claims.Judged:
        table = scores.of_table(table_of("gpt2_s", tmp_path, definition("gpt2_s")))
        assert {line.badge for line in table.lines} == {"reproduction"} and not table.stand_in
        return claims.judge([table, stand_in], REPORTED, {})[0]

    alone = claims.judge([stand_in], REPORTED, {})[0].stand_in
    for row, bleu in (("table1/lora_s", 10), ("table1/solo_s", 9)):
        directory = make_run(tmp_path, row.partition("/")[2], row=row, file_sha256=gpt2)
        sources = [f"name : A{i or ''}" for i in range(630)]
        columns = np.array([[10, 10, bleu, bleu, bleu, bleu]] * 630, float)
        keep_statistics(directory, {"BLEU": columns}, sources)
        assert judged().stand_in == alone
        if row == "table1/lora_s":
            assert judged().reproduction.verdict == claims.OPEN
    assert judged().reproduction.verdict == claims.FAILS


def test_both_sides_of_a_verdict_come_from_one_table():
    """A table with one of the two rows alone gives none."""
    table = table_of("standin12", ROOT / "results/standin12/runs", definition("standin12"))
    whole = scores.of_table(table)
    rows = ["table1/solo_s", "table1/lora_s"]
    half = replace(whole, lines=[line for line in whole.lines if line.row == rows[1]])
    for tables in ([half, whole], [whole, half]):
        assert claims._sides(tables, [rows], "stand-in")[1] is whole.lines
    assert claims._sides([half], [rows], "stand-in") == ([[], []], [])


def test_the_claims_of_counts():
    counts = {"table1/solo_s": 122_444, "table1/lora_s": 294_912,
              "table1/solo_m": 331_468, "table1/lora_m": 393_216,
              "table1/full_m": 354_823_168}  # fmt: skip
    found = [c.count for c in claims.judge([], REPORTED, counts) if c.count]
    assert [(v.verdict, v.figure) for v in found] == [
        (claims.HOLDS, "58.5 % fewer"), (claims.FAILS, "15.7 % fewer"),  # of S, and of M
        (claims.HOLDS, "99.9 % fewer"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bleu", "verdict"),
    [((0.1, 0.24), claims.HOLDS), ((0.1, 0.4), claims.UNDECIDED), ((0.25, 0.4), claims.FAILS)],
)
def test_a_method_collapses_only_if_each_of_its_seeds_does(bleu, verdict):
    def runs(*scores):
        return [SimpleNamespace(seed=i, scores={"BLEU": score}) for i, score in enumerate(scores)]

    assert claims._collapses(runs(*bleu), runs(0.5, 0.5), "").verdict == verdict


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([0.0, 0.1, 0.11], claims.HOLDS),  # the band's edges belong to it
        ([-0.01, 0.05], claims.FAILS),  # half of them are not typical
        ([0.0, 0.11, 0.12], claims.FAILS),
    ],
)
def test_lambda_typically_ends_in_the_papers_band(ends, verdict, monkeypatch):
    monkeypatch.setattr(claims, "last_values", lambda directory: {})
    monkeypatch.setattr(claims, "lambdas_of", lambda values: ends)
    assert claims._ends([SimpleNamespace(directory="")], "").verdict == verdict


def test_a_better_score_whose_interval_holds_zero_decides_nothing(monkeypatch):
    for low, high, verdict in ((-0.01, 0.03, claims.UNDECIDED), (0.01, 0.03, claims.HOLDS)):
        claim = SimpleNamespace(a=0.51, b=0.5, low=low, high=high)
        monkeypatch.setattr(claims, "compare", lambda *parts, claim=claim: {"BLEU": claim})
        monkeypatch.setattr(claims, "_alone", lambda outputs: outputs)
        run = SimpleNamespace(seed=1, scores={"BLEU": 0.5}, outputs=object())
        monkeypatch.setattr(claims, "why_incomparable", lambda *runs: None)
        assert claims._better([[run], [run]], [], "").verdict == verdict


def test_what_the_paper_printed_is_told_with_its_own_contradictions():
    printed = {(c.claim, c.where): c.printed for c in claims.judge([], REPORTED, {})}
    told = {claim: words for (claim, _), words in printed.items()}
    assert told["Solo Connection beats LoRA on GPT-2 Small"] == "+1.85 BLEU"
    assert told["Solo Connection beats full fine-tuning"] == (
        "−0.50 BLEU: its own table says otherwise"
    )
    assert told["A span of 5 blocks collapses where a span of 3 does not"] == "44% of its BLEU"


def test_lambda_is_judged_by_the_ends_of_all_runs(monkeypatch):
    """Two of one run inside the paper's band, three of another outside."""
    ended = {"a": {"lambda/2": 0.05, "lambda/4": 0.01}, "b": dict.fromkeys(map(str, range(3)), 0.9)}
    ended["b"] = {f"lambda/{name}": value for name, value in ended["b"].items()}
    monkeypatch.setattr(claims, "last_values", lambda directory: ended[directory])
    runs = [SimpleNamespace(directory=name) for name in "ab"]
    verdict = claims._ends(runs, "")
    assert (verdict.verdict, verdict.figure) == (claims.FAILS, "2 of 5 inside")
    assert claims._ends(runs[:1], "").verdict == claims.HOLDS


def test_the_demos_judge_nothing(tmp_path):
    rows = ["demo/solo", "demo/lora"]
    for row in rows:
        make_run(tmp_path, row[5:], row=row, stand_in="stand-in: tiny")
    table = scores.of_table(table_of("demo", tmp_path))
    assert all(claims._sides([replace(table, name="mine")], [rows], "stand-in")[0])
    for name in ("demo", "demo-family"):
        assert claims._sides([replace(table, name=name)], [rows], "stand-in") == ([[], []], [])


def test_the_runs_of_a_verdict_are_of_the_paper_s_variant_and_the_fewest_epochs():
    def line(name: str, epochs: int, variant: str = "paper", marks: tuple = ()):
        options = {"train": {"epochs": epochs}}
        run = SimpleNamespace(name=name, options=options, marks=marks, scores={"BLEU": 0.5})
        return SimpleNamespace(row="a", kind="ours", variant=variant, runs=[run])

    lines = [line("five", 5), line("code", 1, "devcode"), line("other", 1, "", ("adapter.rank=8",))]
    for more, name in (([], "five"), ([line("two", 2)], "two")):
        [run] = claims._runs(SimpleNamespace(lines=[*lines, *more]), "a", "ours")
        assert run.name == name


def test_a_claim_s_rows_on_a_stand_in_are_no_reproduction_s(monkeypatch):
    found = []
    monkeypatch.setattr(claims, "_sides", lambda tables, rows, kind: found.append((kind, rows)))
    claims._both([], {"better": [1], "also": [2], "standin": [3]}, "better")
    assert found == [("ours", [[1], [2]]), ("stand-in", [[1], [2], [3]])]
