"""The list of runs, against the runs' own files, and the table that a sweep ends with."""

import csv
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from solo.cli import listing, sweep_summary
from solo.cli.compose import compose_config
from solo.cli.listing import read_folder, rendered, varying
from solo.cli.sweep_summary import summary
from solo.cli.terminal import fitted, show_line
from solo.files import read_json
from solo.runs import sharing
from solo.runs.config import to_values
from solo.standin.demo_data import write_demo_data
from tests.eval.made_runs import DECODED, make_run

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "results/standin12/runs"


def packed(folder: Path = COMMITTED) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_every_committed_run_is_listed_with_its_own_figures(run_script):
    result = run_script("scripts/runs.py", COMMITTED, "--sort", "BLEU", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    runs = packed()
    assert result.code == 0 and len(rows) == len(runs) >= 3
    assert {row["run"] for row in rows} == set(runs)
    bleu = [float(row["BLEU"]) for row in rows]
    assert bleu == sorted(bleu, reverse=True)
    for row in rows:
        files = runs[row["run"]]
        assert float(row["BLEU"]) == pytest.approx(files["metrics.json"]["BLEU"])
        assert float(row["CIDEr"]) == pytest.approx(files["metrics.json"]["CIDEr"])
        assert int(row["parameters"]) == files["environment.json"]["train"]["n_params"]
        assert float(row["lr"]) == files["config.yaml"]["train"]["lr"]
        assert row["settings"].startswith(
            f"{files['config.yaml']['adapter']['name']} standin12 e2e"
        )
        losses = [x["valid_loss"] for x in files["train_log.jsonl"] if "valid_loss" in x]
        assert float(row["valid_loss"]) == losses[-1]


@pytest.fixture
def few(tmp_path) -> Path:
    """A folder with those of the committed runs that have seed 1, a sixth of them."""
    for path in sorted(path for path in COMMITTED.glob("*.json") if "-seed" not in path.name)[::6]:
        shutil.copy(path, tmp_path)
        shutil.copy(path.with_suffix(".tsv"), tmp_path)
    return tmp_path


def test_runs_are_chosen_by_any_option(few, run_script):
    result = run_script("scripts/runs.py", few, "--where", "adapter.rank=8", "--latex")
    names = [name for name, files in packed(few).items()
             if files["config.yaml"]["adapter"].get("rank") == 8]  # fmt: skip
    assert 0 < len(names) < len(packed(few)) and r"valid\_loss" in result.out
    assert result.out.count(" \\\\\n") == 1 + len(names)
    result = run_script("scripts/runs.py", few, "--where", "rank=8")
    assert result.code == 1 and result.err.startswith("error: no run has a 'rank'; known: run, ")


def test_a_damaged_run_is_named_and_the_others_are_listed(few, run_script):
    n_runs, broken = len(packed(few)), sorted(few.glob("*.json"))[0]
    broken.write_text("{")
    (few / "begun").mkdir()
    result = run_script("scripts/runs.py", few)
    assert result.code == 1 and str(broken) in result.err and "damaged" in result.err
    assert f"{few / 'begun'}: left out, unfinished: no config.yaml" in result.err
    assert result.out.count(".json\n") == n_runs - 1 > 3  # a line with the path of each
    assert run_script("scripts/runs.py", few / "no").err.endswith("name one that holds runs\n")


def test_a_score_that_a_table_would_not_take_is_not_listed(tmp_path, run_script):
    """The score of a packed run is changed by hand: its segments' statistics say otherwise."""
    source = next(COMMITTED.glob("lora-*.json"))
    files = json.loads(source.read_text())
    files["metrics.json"]["BLEU"] += 0.01
    (tmp_path / source.name).write_text(json.dumps(files))
    shutil.copy(source.with_suffix(".tsv"), tmp_path)
    result = run_script("scripts/runs.py", tmp_path)
    assert result.code == 1 and f"{source.stem}.json: left out, metrics.json has BLEU" in result.err


def test_decodings_of_one_training_are_told_apart(tmp_path, run_script):
    """Each has the settings that it was made with; the runs to compare are of one data set, and of
    two that have one name they were scored against one file."""
    names = {
        "a": "table1/lora_s",
        "b": "webnlg/lora_s",
        "bb": "table1/lora_s",
        "c": "table1/lora_s",
    }
    for name, row in names.items():
        other = "another file's" if name == "bb" else None
        directory = make_run(tmp_path, name, row=row, mrs=2, references=other)
        config = compose_config([f"experiment={row}"])
        values = to_values(config) | {"decode": to_values(config)["decode"] | {"beam": 10}}
        (directory / "config.yaml").write_text(json.dumps(values))
    again = tmp_path / "a" / "decode" / "ffff"
    shutil.copytree(tmp_path / "a" / DECODED, again)
    identity = json.loads((again / "identity.json").read_text())
    identity["decode"]["beam"] = 7
    (again / "identity.json").write_text(json.dumps(identity))
    frame, unread = read_folder(tmp_path)
    assert not unread and list(frame["decode.beam"]) == [10, 7, 10, 10, 10]
    assert "beam=7" in frame["settings"][1] and "beam" not in frame["settings"][0]
    result = run_script("scripts/runs.py", tmp_path)
    first, second = (str(tmp_path / "a" / "decode" / name) for name in (DECODED[7:], "ffff"))
    assert result.err.endswith(f"next: python -m eval.compare {first} {second}\n")
    shutil.rmtree(again)
    result = run_script("scripts/runs.py", tmp_path)
    assert result.err.endswith(f"eval.compare {tmp_path / 'a'} {tmp_path / 'c'}\n")


def swept(run_script, folder: Path, *varied: str):
    """What scripts/run.py does with a sweep of Solo over a few made-up rows."""
    write_demo_data(folder / "data", train_rows=8, valid_rows=2, test_mrs=2)
    result = run_script(
        "scripts/run.py", *varied, "adapter=solo", "model=standin12", "data=demo",
        f"data.dir={folder}/data", f"runs_dir={folder}/runs", "train.max_steps=1",
        "train.warmup_steps=0", "decode.max_new_tokens=4", "decode.beam=1",
    )  # fmt: skip
    assert result.code == 0, result.err
    return result


@pytest.mark.parametrize(("kind", "together"), [("cpu", None), ("cuda", 3)])
def test_a_sweep_ends_with_a_table_and_a_picture_of_what_varied(
    tmp_path, run_script, scores_at_hand, monkeypatch, kind, together
):
    """On an accelerator its runs share their passes."""
    monkeypatch.setattr(sharing, "device", lambda: torch.device(kind))
    result = swept(run_script, tmp_path, "-m", "adapter.rank=2,4,8")
    head, _, *lines = result.out.splitlines()
    columns = head.split()
    assert [line.split()[columns.index("adapter.rank")] for line in lines[:3]] == ["2", "4", "8"]
    frame, unread = read_folder(tmp_path / "runs")
    entries = map(read_json, (tmp_path / "runs").glob("*/environment.json"))
    assert [entry["train"].get("together") for entry in entries] == [together] * 3
    *made, last = result.err.split("made: ", 1)[1].splitlines()
    told = [line.removeprefix("made: ") for line in made]
    assert sorted(told) == sorted(
        [*frame["directory"], f"{tmp_path}/runs/BLEU_over_adapter.rank.png"]
    )
    assert last == f"next: python scripts/runs.py {tmp_path}/runs --sort BLEU" and unread == []
    assert (tmp_path / "runs/BLEU_over_adapter.rank.png").read_bytes()[:4] == b"\x89PNG"


def test_a_sweep_that_a_file_names_ends_with_all_its_rates(tmp_path, run_script, scores_at_hand):
    result = swept(run_script, tmp_path, "sweep=lr", "adapter.rank=2")
    assert result.out.count(" done ") == 6 and "BLEU_over_lr.png" in result.err


def test_no_picture_puts_two_methods_on_one_axis(tmp_path):
    runs = []
    for name in ("adalora-standin12-epochs1-lr0.003", "bitfit-standin12-epochs1-lr0.03"):
        [path] = COMMITTED.glob(f"{name}*.json")
        for file in (path, path.with_suffix(".tsv")):
            shutil.copy(file, tmp_path)
        kept = tmp_path / path.name
        runs.append(SimpleNamespace(directory=kept, decoding=kept))
    text, paths, _ = summary(runs)
    assert "adapter" in text and len(paths) == 2 and not [*tmp_path.glob("*.png")]


def test_what_to_type_next_brings_a_run_further():
    """Two scored against one file are compared; a lone one that is trained is decoded."""
    states = (("done", "r/a/decode/x", "1"), ("trained", "r/b c", None))
    states += (("decoded", "r/d/decode/y", None),)
    rows = [
        {"state": state, "directory": place, "data": "e2e", "references": sums}
        for state, place, sums in states
    ]
    for some, command in (
        (rows[:1], "python scripts/report.py"),
        (rows[:2], "python scripts/decode.py 'run=r/b c'"),
        (rows, "python scripts/evaluate.py run=r/d"),
        ([rows[0], rows[0] | {"directory": "r/e/decode/x"}], "python -m eval.compare r/a r/e"),
        (
            [rows[0], rows[0] | {"directory": "r/e/decode/x", "references": "2"}],
            "python scripts/report.py",
        ),
    ):
        assert listing.following(pd.DataFrame(some, dtype=object)) == command


def test_other_files_vary(tmp_path):
    """No option tells of them: the paths may be the same."""
    [path] = COMMITTED.glob("bitfit-*.json")
    for name in ("a-0123abcd", "b-0123abce"):
        shutil.copy(path, tmp_path / f"{name}.json")
        shutil.copy(path.with_suffix(".tsv"), tmp_path / f"{name}.tsv")
    values = json.loads(path.read_text())
    values["identity.json"]["test"] = "f" * 64
    values["identity.json"]["training"]["data"]["train"] = "e" * 64
    (tmp_path / "b-0123abce.json").write_text(json.dumps(values))
    frame, unread = read_folder(tmp_path)
    assert not unread and varying(frame) == ["data.train", "data.test"]
    other = frame[frame["run"] == "b-0123abce"].iloc[0]
    assert (other["data.train"], other["data.test"]) == ("e" * 8, "f" * 8)


def test_an_option_that_is_unset_in_some_runs_varies():
    """Of what a run does not have at all nothing is said."""
    absent = float("nan")
    rows = [{"train.max_steps": None, "adapter.rank": 4, "adapter.k": absent, "run": "a"},
            {"train.max_steps": 200, "adapter.rank": 4, "adapter.k": 1, "run": "b"}]  # fmt: skip
    assert varying(pd.DataFrame(rows, dtype=object)) == ["train.max_steps"]
    assert listing.first_score(["run", "lr"]) is None
    assert listing.by_score("a b", None) == "python scripts/runs.py 'a b'"


def test_the_list_fits_a_terminal(monkeypatch):
    """A run by its hash, what it is below its figures, and no more columns than have room."""
    monkeypatch.setenv("COLUMNS", "80")
    frame, _ = read_folder(COMMITTED)
    for columns in (["settings"], varying(frame)):
        lines = rendered(frame, columns).splitlines()
        assert max(map(len, lines)) <= 100
        for name in packed():
            assert any(line.startswith(name[-8:]) for line in lines)
    assert "left out for room: " in lines[-1]


def test_every_table_of_the_repository_fits_a_terminal():
    """Folded at spaces: no number of a table is lost."""
    for path in sorted((ROOT / "results").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        shown = fitted(text, 100)
        assert max(map(len, shown.splitlines())) <= 100, path
        numbers = [re.findall(r"\d+(?:[.,]\d+)*", part) for part in (text, shown)]
        assert not Counter(numbers[0]) - Counter(numbers[1]), path  # a first column may come again


def test_a_long_line_is_folded_on_a_terminal_alone(capsys, monkeypatch):
    line = "  rests on: " + " ".join(["a word"] * 30)
    show_line(line)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    show_line(line)
    whole, *folded = capsys.readouterr().out.splitlines()
    assert whole == line and max(map(len, folded)) <= 100
    assert " ".join(" ".join(folded).split()) == " ".join(line.split())


def test_runs_are_compared_by_the_first_score_of_their_data_set():
    assert listing.first_score(["run", "METEOR", "BLEU"]) == "BLEU"
    found = listing.first_score(["TER all", "lr", "BLEU unseen", "BLEU all"])
    assert listing.by_score("HERE", found).endswith("HERE --sort 'BLEU all'")


def test_a_condition_that_no_run_meets_says_what_there_is(few, run_script):
    result = run_script("scripts/runs.py", few, "--where", "adapter=houlbsy")
    assert result.code == 1 and result.err.count("\n") == 1
    assert result.err.startswith("error: no run has adapter=houlbsy; there adapter is ")
    assert "lora" in result.err and "solo" in result.err
    same = [run_script("scripts/runs.py", few, "--where", f"lr={x}") for x in ("1e-2", "0.01")]
    assert same[0].out == same[1].out and "solo" in same[0].out


def test_one_run_instead_of_their_folder_is_told(tmp_path, run_script):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    done = run_script("scripts/runs.py", tmp_path / "run")
    assert (
        done.err == f"error: {tmp_path}/run is one run; name the folder that holds it: {tmp_path}\n"
    )


def test_the_first_score_is_never_left_out_for_room(monkeypatch):
    import pandas as pd

    monkeypatch.setattr(listing, "width", lambda: 1)
    columns = ("run", "state", "seed", "valid_loss", "lr", "BLEU", "NIST")
    shown, left_out = listing._narrow(pd.DataFrame([dict.fromkeys(columns, "1")]), ["BLEU", "NIST"])
    assert list(shown) == ["run", "BLEU"] and "NIST" in left_out


def test_numbers_stand_to_the_right_and_words_to_the_left():
    table = "| name | n |\n|---|---:|\n| x | 5 |\n| yy | 10.25 |"
    lines = ["name      n", "----  -----", "x         5", "yy    10.25"]
    assert fitted(table, 100).splitlines() == lines


def test_negative_numbers_stand_to_the_right_too():
    """With the minus that scores have."""
    minus = "\N{MINUS SIGN}0.5"
    table = f"| a | n |\n|---|---:|\n| x | {minus} |\n| y | +10.25 |"
    assert fitted(table, 100).splitlines()[2:] == [f"x    {minus}", "y  +10.25"]


def test_a_picture_of_the_user_s_own_stays_and_the_rest_goes_on(tmp_path, monkeypatch):
    """A sweep's picture has a name that others may have given."""
    runs = [
        SimpleNamespace(decoding=path, directory=path) for path in (tmp_path / "a", tmp_path / "b")
    ]
    frame = pd.DataFrame({"lr": [0.1, 0.2], "BLEU": [0.5, 0.6], "directory": ["a", "b"]})
    monkeypatch.setattr(sweep_summary, "frame_of", lambda pairs: (frame, []))
    monkeypatch.setattr(sweep_summary, "varying", lambda frame: [])
    monkeypatch.setattr(sweep_summary, "rendered", lambda frame, columns: "text")
    place = tmp_path / "BLEU_over_lr.png"
    place.write_text("mine")
    text, paths, _ = summary(runs)
    assert text == "text" and paths == ["a", "b"] and place.read_text() == "mine"
    place.unlink()
    assert summary(runs)[1][0].endswith("BLEU_over_lr.png") and place.exists()


def test_runs_scored_against_other_references_differ(few):
    """Their scores do not rank them."""
    [path, *_] = sorted(few.glob("*.json"))
    frame = listing.read_folder(few)[0]
    assert "references" not in listing.varying(frame)
    text = path.read_text(encoding="utf-8")
    [before] = {*frame["references"]}
    path.write_text(re.sub(rf'"{before}[0-9a-f]+"', '"' + "7" * 64 + '"', text), encoding="utf-8")
    frame = listing.read_folder(few)[0]
    assert "references" in listing.varying(frame) and {*frame["references"]} == {before, "7" * 8}
