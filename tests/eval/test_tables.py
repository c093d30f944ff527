"""Tables from run directories: text, LaTeX and CSV against lines written by hand."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from eval.latex import escaped
from eval.metrics import METRICS
from eval.metrics.metric import Measured, Metric, mean
from eval.score import score_systems
from eval.tables.lines import load_reported, read_table, with_family_rows
from eval.tables.write import summary, write_table
from solo.cli.tables import table_of
from tests.eval.made_runs import DECODED, SCORES, keep_statistics, make_run, rescore


@pytest.fixture
def write(tmp_path):
    """Write a table from the runs in tmp_path/runs; returns its Markdown."""

    def table(name: str) -> str:
        return write_table(table_of(name, tmp_path / "runs"), tmp_path / "out")

    return table


def lines_of(markdown: str, label: str) -> list[str]:
    """The row whose first line has that label, and its other lines."""
    lines = iter(markdown.split("\n## ")[0].splitlines())
    found = [next(line for line in lines if line.startswith(f"| {label} |"))]
    for line in lines:
        if not line.startswith("|  |"):
            return found
        found.append(line)


def read_csv(tmp_path, name: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO((tmp_path / f"out/{name}.csv").read_text())))


def test_one_run_stands_below_the_paper(tmp_path, write):
    make_run(tmp_path / "runs", "a", lr=5e-4)
    make_run(tmp_path / "runs", "b", row="table1/lora_m", n_params=393_216)
    markdown = write("table1")
    assert lines_of(markdown, "Solo Connection, GPT-2 S") == [
        "| Solo Connection, GPT-2 S | paper | 0.12M |  |  | 67.64 | 8.64 | 45.70 | 68.32 | 2.31 |",
        "|  | ours, variant=paper | 122,449 | 0.0005 | 1 | 67.64 (+0.00) | 8.640 (+0.000) "
        "| 45.70 (+0.00) | 68.32 (+0.00) | 2.310 (+0.000) |",
        "|  | ours, variant=devcode | 201,989 | – | – | – | – | – | – | – |",
    ]
    assert lines_of(markdown, "LoRA, GPT-2 M") == [
        "| LoRA, GPT-2 M | paper | 0.35M |  |  | 67.45 | 8.58 | 45.93 | 68.8 | 2.36 |",
        "|  | independent |  |  |  | 68.65 to 68.87 | 8.68 to 8.69 | 46.4 to 46.5 | 71.2 to 71.4 "
        "| 2.50 to 2.51 |",
        "|  | ours | 393,216 | 0.0002 | 1 | 67.64 (+0.19) | 8.640 (+0.060) | 45.70 (−0.23) "
        "| 68.32 (−0.48) | 2.310 (−0.050) |",
    ]
    assert lines_of(markdown, "Solo Connection, GPT-2 M")[1] == (
        "|  | ours, variant=paper | 331,479 | – | – | – | – | – | – | – |"
    )
    assert "- Solo Connection, GPT-2 S, variant=paper: a (seed 1)" in markdown
    assert "Not counted" not in markdown and "left out" not in markdown


def test_seeds_become_mean_and_standard_deviation(tmp_path, write):
    for seed, bleu in ((3, 0.66), (1, 0.67), (2, 0.68)):
        make_run(tmp_path / "runs", f"s{seed}", seed=seed, scores={"BLEU": bleu})
    make_run(tmp_path / "runs", "dev", adapter={"variant": "devcode"}, n_params=201_989)
    make_run(tmp_path / "runs", "faster", lr=1e-3, scores={"BLEU": 0.7})
    _, paper, faster, devcode = lines_of(write("table1"), "Solo Connection, GPT-2 S")[:4]
    if "0.001" in paper:
        paper, faster = faster, paper
    # mean 0.67, sample deviation sqrt((0.01^2 + 0 + 0.01^2) / 2) = 0.01; 67 - 67.64 = -0.64
    assert paper.startswith(
        "|  | ours, variant=paper | 122,449 | 0.0002 | 1, 2, 3 | 67.00 ± 1.00 (−0.64) "
        "| 8.640 ± 0.000 (+0.000) |"
    )
    assert faster.startswith("|  | ours, variant=paper | 122,449 | 0.001 | 1 | 70.00 (+2.36) |")
    assert devcode.startswith("|  | ours, variant=devcode | 201,989 | 0.0002 | 1 | 67.64 (+0.00)")
    [line] = [r for r in read_csv(tmp_path, "table1") if r["seeds"] == "1 2 3"]
    assert (line["BLEU"], line["BLEU_sd"], line["BLEU_minus_paper"]) == (
        "0.6700", "0.0100", "-0.0064",
    )  # fmt: skip
    assert line["runs"].split() == ["s1", "s2", "s3"]


def test_rows_of_other_tables_with_the_same_settings_share_the_run(tmp_path, write):
    make_run(tmp_path / "runs", "a")
    for table, label in (
        ("table2", "Solo (r=128, s=0.6)"),
        ("table6", "Homotopy layer (case 1)"),
    ):
        assert "| 0.0002 | 1 | 67.64 (+0.00) |" in lines_of(write(table), label)[1]
    assert "| – | – |" in lines_of(write("table2"), "Solo (r=128)")[1]
    assert "| – | – |" in lines_of(write("table6"), "Plain vector (case 2)")[1]


def test_whatever_is_no_reproduction_stands_apart_with_the_reason(tmp_path, write):
    make_run(tmp_path / "runs", "a", stand_in="stand-in: tiny", steps=200)
    make_run(tmp_path / "runs", "b", adapter={"rank": 64}, scores={"BLEU": 0.5})
    markdown = write("table1")
    assert lines_of(markdown, "Solo Connection, GPT-2 S")[1].endswith(
        "| – | – | – | – | – | – | – |"
    )
    apart = markdown.split("## Not counted as reproductions")[1]
    assert (
        "| Solo Connection, GPT-2 S, variant=paper | stand-in: tiny; 200 of 52,580 training steps "
        "| 0.0002 | 1 | 122,449 | 67.64 | 8.640 | 45.70 | 68.32 | 2.310 | a |"
    ) in apart
    assert "| adapter.rank=64 (the row has 128) | 0.0002 | 1 | 63,147 | 50.00 |" in apart
    latex = (tmp_path / "out/table1.tex").read_text()
    assert "% 2 marked runs (stand-in, partial, other settings) are in table1.md only" in latex
    assert "50.00" not in latex
    others = [r for r in read_csv(tmp_path, "table1") if r["runs"] in ("a", "b")]
    assert [r["source"] for r in others] == ["other", "other"]
    assert others[0]["marks"] == "stand-in: tiny; 200 of 52,580 training steps"


def test_marked_runs_of_the_two_variants_are_side_by_side_too(tmp_path, write):
    make_run(tmp_path / "runs", "a", stand_in="stand-in: tiny", adapter={"variant": "devcode"})
    make_run(tmp_path / "runs", "b", stand_in="stand-in: tiny")
    apart = write("table1").split("## Not counted as reproductions")[1].splitlines()
    variants = [line.split(" | ")[0] for line in apart if "| stand-in: tiny |" in line]
    names = [f"| Solo Connection, GPT-2 S, variant={name}" for name in ("paper", "devcode")]
    assert variants == names


def test_signs_that_latex_would_take_for_commands():
    assert escaped(r"r=2^5~a_{b} $5 & 60% #1 \x ± − –") == (
        r"r=2\textasciicircum{}5\textasciitilde{}a\_\{b\} \$5 \& 60\% \#1 \textbackslash{}x"
        r" $\pm$ $-$ --"
    )


def test_latex(tmp_path, write):
    make_run(tmp_path / "runs", "a", row="table6/solo_s_vector", n_params=122_444,
             scores=dict.fromkeys(SCORES, 0.25))  # fmt: skip
    write("table6")
    assert (tmp_path / "out/table6.tex").read_text() == (
        r"""% made by scripts/tables.py; needs the package booktabs
\begin{table}
\centering
\caption{Table 6: the homotopy layer against a plain vector, GPT-2 S, r=128, s=0.6}
\label{tab:table6}
\begin{tabular}{llrllrrrrr}
\toprule
row & source & trainable & lr & seeds & BLEU & NIST & METEOR & ROUGE\_L & CIDEr \\
\midrule
Homotopy layer (case 1) & paper & 0.12M &  &  & 67.64 & 8.64 & 45.70 & 68.32 & 2.31 \\
 & ours, variant=paper & 122,449 & -- & -- & -- & -- & -- & -- & -- \\
 & ours, variant=devcode & 201,989 & -- & -- & -- & -- & -- & -- & -- \\
\addlinespace
Plain vector (case 2) & paper & 0.12M &  &  & 0.0 & 0.89 & 0.02 & 0.13 & 0.002 \\
"""
        r" & ours, variant=paper & 122,444 & 0.0002 & 1 & 25.00 (+25.00) & 0.250 ($-$0.640)"
        r" & 25.00 (+24.98) & 25.00 (+24.87) & 0.250 (+0.248) \\"
        r"""
 & ours, variant=devcode & 201,984 & -- & -- & -- & -- & -- & -- & -- \\
\bottomrule
\end{tabular}
\end{table}
"""
    )


def test_csv_is_on_the_official_scale_and_unknown_values_are_empty(tmp_path, write):
    write("extra")
    assert (tmp_path / "out/extra.csv").read_text().splitlines() == [
        "row,label,source,variant,marks,seeds,lr,trainable,BLEU,NIST,METEOR,ROUGE_L,CIDEr,"
        "BLEU_sd,NIST_sd,METEOR_sd,ROUGE_L_sd,CIDEr_sd,BLEU_minus_paper,NIST_minus_paper,"
        "METEOR_minus_paper,ROUGE_L_minus_paper,CIDEr_minus_paper,runs",
        'extra/lora_m_recipe,"LoRA, GPT-2 M, batch 8, weight decay 0.01",independent,,,,,,'
        "0.6876,8.6850,0.4645,0.7130,2.5050,,,,,,,,,,,",
        'extra/lora_m_recipe,"LoRA, GPT-2 M, batch 8, weight decay 0.01",ours,,,,,393216,'
        + "," * 15,
        'extra/lora_s_recipe,"LoRA, GPT-2 S, batch 8, weight decay 0.01",independent,,,,,,'
        "0.6727,8.6000,0.4571,0.6814,2.3100,,,,,,,,,,,",
        'extra/lora_s_recipe,"LoRA, GPT-2 S, batch 8, weight decay 0.01",ours,,,,,294912,'
        + "," * 15,
        'extra/full_s,"Full fine-tuning, GPT-2 S",ours,,,,,124439808,' + "," * 15,
    ]


def test_left_out_directories_are_listed(tmp_path, write):
    (make_run(tmp_path / "runs", "half") / DECODED / "metrics.json").unlink()
    markdown = write("table4")
    assert markdown.endswith(
        "## Run directories left out\n\n"
        f"- {tmp_path}/runs/half/{DECODED}: left out, unfinished: no metrics.json\n"
    )


def test_demo(tmp_path, write):
    made = {"row": "demo/solo", "stand_in": "demo", "mrs": 60}
    make_run(tmp_path / "runs", "a", lr=1e-1, **made)
    make_run(tmp_path / "runs", "b", lr=2e-4, **made)
    make_run(tmp_path / "runs", "c", lr=1e-1, train={"max_steps": 30}, **made)
    markdown, apart = write("demo").split("## Runs with other settings than their row\n\n")
    assert "| The backbone as it is | – | – | – | – | – | – | – | – |" in markdown
    scores = "67.64 | 8.640 | 45.70 | 68.32 | 2.310 |"
    assert markdown.count("Solo") == 1
    assert f"| Solo (r=128, s=0.4) | 1 | 122,449 | 0.1 | {scores}" in markdown
    assert [line.split(" | ")[3:5] for line in apart.splitlines()[2:]] == [
        ["0.0002", "train.lr=0.0002 (the row has 0.1)"],
        ["0.1", "train.max_steps=30 (the row has 200)"],
    ]
    assert apart.count(scores) == 2
    assert (tmp_path / "out/table1.csv").read_text() == (
        "row,run,seed,lr,trainable,BLEU,NIST,METEOR,ROUGE_L,CIDEr,other settings\n"
        '"Solo (r=128, s=0.4)",a,1,0.1,122449,0.6764,8.6400,0.4570,0.6832,2.3100,\n'
        '"Solo (r=128, s=0.4)",b,1,0.0002,122449,0.6764,8.6400,0.4570,0.6832,2.3100,'
        "train.lr=0.0002 (the row has 0.1)\n"
        '"Solo (r=128, s=0.4)",c,1,0.1,122449,0.6764,8.6400,0.4570,0.6832,2.3100,'
        "train.max_steps=30 (the row has 200)\n"
    )


def test_a_summary_tells_of_stand_ins_in_whichever_row(tmp_path):
    """The mark of the first one with runs is another."""
    make_run(tmp_path, "a", row="demo/lora", stand_in="demo", mrs=60, lr=1e-2)
    assert summary(table_of("demo", tmp_path)) == "4 rows, 1 filled"
    make_run(tmp_path, "b", row="demo/solo", stand_in="stand-in: tiny", mrs=60, lr=1e-1)
    assert summary(table_of("demo", tmp_path)) == "4 rows, 2 filled with stand-ins"


def test_names_of_runs_with_spaces_stay_apart_in_the_csv(tmp_path, write):
    for seed in (1, 2):
        make_run(tmp_path / "runs", f"run {seed}", seed=seed)
    write("table1")
    assert [row["runs"] for row in read_csv(tmp_path, "table1") if row["runs"]] == [
        "'run 1' 'run 2'"
    ]


def test_what_trains_nothing_has_no_rate_in_the_demos_csv(tmp_path, write):
    make_run(tmp_path / "runs", "a", row="demo/none", n_params=0, stand_in="demo", mrs=60)
    assert "| The backbone as it is | 1 | 0 | – |" in write("demo")
    [row] = read_csv(tmp_path, "table1")
    assert (row["run"], row["trainable"], row["lr"]) == ("a", "0", "")


def test_unknown_table(tmp_path):
    with pytest.raises(
        ValueError, match="unknown table 'table9'; known: table1, .*, extra, family, webnlg, demo"
    ):
        table_of("table9", tmp_path)


def test_the_claim_is_tested_on_pairs_with_the_same_weights_and_seed(tmp_path, write):
    """Solo above LoRA: 630 MRs where Solo's CIDEr is 1 higher everywhere, all else the same."""
    statistics = {name: np.ones((630, len(m.columns))) for name, m in METRICS.items()}
    statistics["CIDEr"] = np.linspace(0, 1, 630)[:, None]
    for name, row, seed in (("s1", "solo_s", 1), ("l1", "lora_s", 1), ("l2", "lora_s", 2)):
        directory = make_run(tmp_path / "runs", name, row=f"table1/{row}", seed=seed)
        if name != "l2":
            higher = {"CIDEr": statistics["CIDEr"] + (name == "s1")}
            keep_statistics(directory, statistics | higher, [f"m{i}" for i in range(630)])
    small, medium = write("table1").split("## Is it real? ")[1:]
    assert small.startswith("Solo Connection, GPT-2 S against LoRA, GPT-2 S\n")
    assert "s1 against l1, seed 1, paired bootstrap" in small and "l2" not in small
    assert "| CIDEr | 1.500 | 0.500 | +1.000 | +1.000 to +1.000 | 0.0002 |" in small
    assert "| NIST | " in small and "| +0.000 | +0.000 to +0.000 | 1.0000 |" in small
    assert medium.endswith("– (no two runs with the same weights and seed yet)\n")
    (tmp_path / "runs/s1" / DECODED / "statistics.json").unlink()
    assert "has no statistics; scripts/evaluate.py leaves them" in write("table1")


def test_two_runs_with_other_references_are_not_compared(tmp_path, write):
    """Nor does that keep the table from being written."""
    statistics = {name: np.ones((630, len(m.columns))) for name, m in METRICS.items()}
    for name, row, references in (("s", "solo_s", "a"), ("l", "lora_s", "b")):
        directory = make_run(tmp_path / "runs", name, row=f"table1/{row}", references=references)
        keep_statistics(directory, statistics, [f"m{i}" for i in range(630)])
    text = write("table1")
    assert "s against l: " in text and "different references" in text


def test_a_run_in_bf16_never_stands_unmarked_beside_those_in_fp32(tmp_path, write):
    """Same row, seed and rate: apart in the table, with the reason, and in the claim's line too."""
    make_run(tmp_path / "runs", "fp32")
    make_run(tmp_path / "runs", "half", train={"precision": "bf16"}, scores={"BLEU": 0.6})
    make_run(tmp_path / "runs", "lora", row="table1/lora_s")
    markdown = write("table1")
    mark = "train.precision=bf16 (the row has fp32)"
    assert "| 0.0002 | 1 | 67.64 (+0.00) |" in lines_of(markdown, "Solo Connection, GPT-2 S")[1]
    apart = markdown.split("## Not counted as reproductions")[1]
    assert f"| Solo Connection, GPT-2 S, variant=paper | {mark} | 0.0002 | 1 |" in apart
    claim = markdown.split("## Is it real? ")[1]
    assert f"Not a reproduction ({mark}): half against lora" in claim
    assert "\nfp32 against lora" in claim


def test_a_run_without_a_metric_has_a_dash_and_a_metric_without_a_run_no_column(tmp_path, write):
    """chrF++ came after the first runs: its column is there once a run has it."""
    make_run(tmp_path / "runs", "old")
    assert "chrF" not in write("table1")
    make_run(tmp_path / "runs", "new", row="table1/lora_s", scores={"chrF": 0.71})
    make_run(tmp_path / "runs", "mixed", seed=2, scores={"chrF": 0.73})  # its other seed has none
    rescore(tmp_path / "runs/old", {name: SCORES[name] for name in SCORES if name != "NIST"})
    markdown = write("table1")
    assert "BLEU, METEOR, ROUGE-L and chrF++ x 100. ours:" in markdown
    assert "| BLEU | NIST | METEOR | ROUGE_L | CIDEr | chrF |" in markdown
    paper, ours, _ = lines_of(markdown, "Solo Connection, GPT-2 S")
    assert paper.endswith("| 2.31 | – |")
    assert "| 1, 2 | 67.64 ± 0.00 (+0.00) | – | 45.70" in ours and ours.endswith("| – |")
    assert lines_of(markdown, "LoRA, GPT-2 S")[2].endswith("| 71.00 |")
    rows = {row["runs"]: row for row in read_csv(tmp_path, "table1")}
    assert rows["new"]["chrF"] == "0.7100" and rows["old mixed"]["chrF"] == ""
    assert rows["old mixed"]["NIST"] == rows["old mixed"]["NIST_sd"] == ""


def test_the_demo_with_a_run_that_lacks_a_metric(tmp_path, write):
    make_run(tmp_path / "runs", "a", row="demo/solo", lr=1e-1, stand_in="demo")
    scores = {"chrF": 0.5}
    make_run(tmp_path / "runs", "b", row="demo/lora", lr=1e-2, stand_in="demo", scores=scores)
    markdown = write("demo")
    assert "| The backbone as it is | – | – | – | – | – | – | – | – | – |" in markdown
    assert "| 2.310 | – |" in markdown and "| 2.310 | 50.00 |" in markdown
    assert (tmp_path / "out/table1.csv").read_text().splitlines() == [
        "row,run,seed,lr,trainable,BLEU,NIST,METEOR,ROUGE_L,CIDEr,chrF",
        "LoRA (r=8),b,1,0.01,294912,0.6764,8.6400,0.4570,0.6832,2.3100,0.5000",
        '"Solo (r=128, s=0.4)",a,1,0.1,122449,0.6764,8.6400,0.4570,0.6832,2.3100,',
    ]


def test_a_metric_is_one_file_and_one_line(tmp_path, write, monkeypatch):
    """A throw-away metric, words of the output: scored, kept, compared and shown, by the registry
    alone."""

    def measure(texts):
        words = [np.array([[len(text.split())] for text in texts_]) for texts_, _ in texts.corpora]
        return [Measured(w.mean(), w, {"words": w[:, 0]}) for w in words]

    metric = Metric("words", "words", 1, 1, (0, 99), "space", ("words",), mean, measure)
    monkeypatch.setitem(METRICS, "words", metric)
    (result,) = score_systems([(["a b", "c d e f"], [["a b"], ["x"]])], by_segment=True)
    assert result.scores["words"] == 3 and [s["words"] for s in result.segments] == [2, 4]
    for name, row, factor in (("s", "solo_s", 2), ("l", "lora_s", 1)):
        scores = {"words": factor * 3.0}
        directory = make_run(tmp_path / "runs", name, row=f"table1/{row}", scores=scores)
        keep_statistics(directory, {"words": factor * result.statistics["words"]}, ["m", "n"])
    markdown = write("table1")
    assert lines_of(markdown, "Solo Connection, GPT-2 S")[1].endswith("| 2.310 (+0.000) | 6.0 |")
    assert "| words | 6.0 | 3.0 | +3.0 | +2.0 to +4.0 |" in markdown


def test_a_method_without_a_line_gets_a_row_of_the_family(tmp_path):
    reported = with_family_rows(load_reported(), {"family/new": "New", "family/lora": "no"})
    settings = {row["row"]: {"adapter": {}, "model": {}} for row in reported["family"]["rows"]}
    counts = {"family/new": {"paper": 12}}
    table = read_table(reported, "family", tmp_path, settings, counts)
    markdown = write_table(table, tmp_path / "out")
    none = " | – | – | – | – | – | – | – |"
    assert f"| New | ours | 12{none}" in markdown and "| no |" not in markdown
    assert reported["demo-family"]["rows"][-1] == {"row": "family/new", "label": "New"}
    assert load_reported()["family"]["rows"][-1]["row"] != "family/new"
    del settings["family/new"]
    with pytest.raises(ValueError, match="no settings of row 'family/new' of family; pass those"):
        read_table(reported, "family", tmp_path, settings, counts)


def test_a_second_decoding_is_a_line_of_its_own(tmp_path, write):
    make_run(tmp_path / "runs", "a")
    again = tmp_path / "runs/a/decode/ffff"
    shutil.copytree(tmp_path / "runs/a" / DECODED, again)
    identity = json.loads((again / "identity.json").read_text())
    identity["decode"]["beam"] = 1
    (again / "identity.json").write_text(json.dumps(identity))
    markdown = write("table1")
    assert "- Solo Connection, GPT-2 S, variant=paper: a/decode/0a1b2c3d (seed 1)" in markdown
    apart = markdown.split("## Not counted as reproductions")[1]
    assert "| decode.beam=1 (the row has 10) |" in apart and "| a/decode/ffff |" in apart


def test_where_the_user_says_a_table_replaces_only_what_the_program_wrote(write, tmp_path):
    write("table1")
    table, out = table_of("table1", tmp_path / "runs"), tmp_path / "out"
    kept = {path: path.read_bytes() for path in out.iterdir()}
    assert sorted(path.name for path in kept) == ["table1.csv", "table1.md", "table1.tex"]
    write_table(table, out, force=False)  # over its own
    for path, ours in kept.items():
        path.write_text("precious")
        with pytest.raises(ValueError, match=f"{path.name} is there already, and not as this prog"):
            write_table(table, out, force=False)
        assert {other: other.read_bytes() for other in kept} == kept | {path: b"precious"}
        path.write_bytes(ours)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="is no regular file, and is not replaced"):
        write_table(table, out)


def test_runs_apart_are_not_behind_the_numbers(tmp_path, write):
    make_run(tmp_path / "runs", "a", stand_in="stand-in: tiny", path="tiny")
    assert "## Runs behind these numbers" not in write("table1")
    make_run(tmp_path / "runs", "b")
    behind = write("table1").split("## Runs behind these numbers\n\n")[1].split("\n\n")[0]
    assert behind == "- Solo Connection, GPT-2 S, variant=paper: b (seed 1)"


def test_the_demo_s_runs_of_another_backbone_or_other_data_come_apart(tmp_path, write):
    """Its rows name neither by its content."""
    made = {"stand_in": "stand-in: tiny", "mrs": 60}
    for name, row in (("a", "demo/none"), ("b", "demo/lora")):
        make_run(tmp_path / "runs", name, row=row, lr=1e-2, **made)
    make_run(tmp_path / "runs", "c", row="demo/none", path="bb2", **made)
    make_run(tmp_path / "runs", "d", row="demo/lora", lr=1e-2, data={"test": "other"}, **made)
    own, apart = write("demo").split("## Runs with other settings than their row\n\n")
    assert [own.count(label) for label in ("| The backbone", "| LoRA")] == [1, 1]
    assert "other backbone than most" in apart and "other data than most" in apart
