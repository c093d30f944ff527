"""Tables from run directories: what counts as ours, what is marked, what is broken."""

import csv
import io
import json

import pytest

from eval import report, tables

SCORES = {"BLEU": 0.6764, "NIST": 8.64, "METEOR": 0.457, "ROUGE_L": 0.6832, "CIDEr": 2.31}


def make_run(root, name, row="table1/solo_s", stand_in=None, steps=52_580, mrs=630, **backbone):
    directory = root / name
    directory.mkdir(parents=True)
    backbone = {"path": "openai-community/gpt2", "file_sha256": "0", **backbone}
    train = {"steps": steps, "planned_steps": 52_580, "n_params": 122_449}
    files = {
        "environment.json": {
            "train": train | {"backbone": backbone | {"stand_in": stand_in}},
            "decode": {"n_predictions": mrs},
            "evaluate": {},
        },
        "identity.json": {"training": {"seed": 1}},
        "rows.json": [row],
        "metrics.json": SCORES,
    }
    for file, content in files.items():
        (directory / file).write_text(json.dumps(content))
    log = [{"step": s, "loss": 3.0 - s, "lambda/2": 0.01 * s} for s in (1, 2)]
    (directory / "train_log.jsonl").write_text("\n".join(map(json.dumps, log)))
    return directory


def cells(markdown: str, first: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_whole_run_stands_beside_the_paper_and_independent_users(tmp_path):
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", row="table1/lora_m")
    markdown = report.write_table("table1", tmp_path, tmp_path / "out")
    assert cells(markdown, "Solo Connection, GPT-2 S") == [
        "Solo Connection, GPT-2 S", "0.12M", "122,449", "BLEU", "67.64", "–", "67.64",
    ]  # fmt: skip
    assert cells(markdown, "LoRA, GPT-2 M")[3:] == ["BLEU", "67.45", "68.65 to 68.87", "67.64"]
    assert cells(markdown, "Solo Connection, GPT-2 M")[2:] == ["–", "BLEU", "67.7", "–", "–"]
    assert "| CIDEr | 2.36 | 2.50 to 2.51 | 2.310 |" in markdown
    assert "Not a reproduction" not in markdown
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/table1.csv").read_text())))
    [ours] = [r for r in rows if r["row"] == "table1/solo_s" and r["source"] == "ours"]
    assert (ours["BLEU"], ours["trainable"]) == ("0.6764", "122449")
    [paper] = [r for r in rows if r["row"] == "table1/solo_s" and r["source"] == "paper"]
    assert (paper["BLEU"], paper["NIST"]) == ("0.6764", "8.6400")
    assert (tmp_path / "out/table1_curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"stand_in": "stand-in: tiny"}, "stand-in: tiny"),
        ({"path": "some/dir"}, "backbone of unknown origin (some/dir)"),
        ({"steps": 200}, "200 of 52,580 training steps"),
        ({"mrs": 12}, "12 test MRs, not E2E's 630"),
    ],
)
def test_anything_less_is_listed_apart_with_the_reason(tmp_path, changes, mark):
    make_run(tmp_path, "a", **changes)
    markdown = report.write_table("table1", tmp_path, tmp_path / "out")
    assert cells(markdown, "Solo Connection, GPT-2 S")[-1] == "–"
    apart = markdown.split("## Not a reproduction")[1]
    assert cells(apart, "Solo Connection, GPT-2 S")[1] == mark


def test_the_picture_marks_them_too(tmp_path, monkeypatch):
    drawn = []
    original = report.figures.curves
    monkeypatch.setattr(report.figures, "curves", lambda *a: drawn.append(a) or original(*a))
    make_run(tmp_path, "a", stand_in="stand-in: tiny")
    make_run(tmp_path, "b", row="table1/lora_s")
    report.write_table("table1", tmp_path, tmp_path / "out")
    [(labelled, title)] = drawn
    assert [label for label, _ in labelled] == ["LoRA, GPT-2 S", "Solo Connection, GPT-2 S *"]
    assert title.endswith("* stand-in backbone or partial run: not a reproduction")


def test_a_local_copy_of_the_hubs_weights_is_the_real_thing(tmp_path):
    [sha256] = tables.load_reported()["weights"]
    make_run(tmp_path, "a", path="some/dir", file_sha256=sha256)
    [run], _ = tables.read_runs(tmp_path)
    assert run.marks == []


def test_a_broken_directory_is_named_and_left_out(tmp_path):
    make_run(tmp_path, "good")
    (make_run(tmp_path, "half") / "metrics.json").write_text('{"BLEU": ')
    (make_run(tmp_path, "less") / "metrics.json").write_text('{"BLEU": 0.5}')
    (tmp_path / "unfinished").mkdir()
    runs, broken = tables.read_runs(tmp_path)
    assert [run.directory.name for run in runs] == ["good"]
    assert [line.split(":")[0].rsplit("/")[-1] for line in broken] == ["half", "less"]
    assert "half: left out, JSONDecodeError" in report.write_table("table1", tmp_path, tmp_path)


def test_demo_csv_columns(tmp_path):
    make_run(tmp_path, "a", row="demo/solo", stand_in="demo", mrs=60)
    markdown = report.write_table("demo", tmp_path, tmp_path / "out")
    assert cells(markdown, "none") == ["none", *["–"] * 7]
    text = (tmp_path / "out/table1.csv").read_text()
    assert text == (
        "row,trainable,BLEU,NIST,METEOR,ROUGE_L,CIDEr\n"
        "solo,122449,0.6764,8.6400,0.4570,0.6832,2.3100\n"
    )


def test_unknown_table(tmp_path):
    with pytest.raises(ValueError, match="unknown table 'table9'; known: table1, demo"):
        report.write_table("table9", tmp_path, tmp_path)
