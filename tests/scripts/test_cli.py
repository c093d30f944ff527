"""The commands as a user types them: the whole chain once, and errors in one line."""

import csv
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts import reproduce
from solo.backbones.loading import load_tokenizer
from solo.cli import planning
from solo.cli.rows import compose_row, compose_rows, own_overrides
from solo.runs import sharing
from solo.runs.run import make_run, open_run
from solo.runs.stages import train_run
from solo.standin.demo_data import write_demo_data
from solo.standin.pretrain import new_model

ROOT = Path(__file__).resolve().parent.parent.parent


def call(*arguments, code=0) -> subprocess.CompletedProcess:
    """Run a script of ours in its own process; assert its exit code."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    env.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == code, result.stderr[-2000:]
    return result


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Generated data and a random backbone of four thin blocks."""
    root = tmp_path_factory.mktemp("small")
    write_demo_data(root / "data", train_rows=40, valid_rows=6, test_mrs=4)
    tokenizer = load_tokenizer(ROOT / "data/backbones/standin12")
    shape = {"n_layer": 4, "n_embd": 32, "n_head": 2, "n_positions": 256}
    new_model(shape, tokenizer, 1, "test: random").save_pretrained(root / "backbone")
    tokenizer.save_pretrained(root / "backbone")
    return root


def test_ctrl_c_in_the_training_is_a_line_and_the_same_command_goes_on(small, tmp_path):
    """SIGINT to a real process, twice, as impatient users do. A sweep's -m may stand anywhere."""
    overrides = [
        "data=demo", f"data.dir={small}/data", f"model.path={small}/backbone", "seed=1", "-m",
        "train.epochs=500", "train.save_every=1", "train.log_every=1", f"runs_dir={tmp_path}/runs",
    ]  # fmt: skip
    command = [sys.executable, "scripts/train.py", *overrides]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    heeded = functools.partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # whoever runs the tests
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stderr=subprocess.PIPE, preexec_fn=heeded
    ) as process:
        output = b""
        while b"loss=" not in output:
            output += process.stderr.read1(1000) or b"loss="
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output += process.stderr.read()
    assert process.returncode == 130, output.decode()
    assert output.splitlines()[-1] == b"interrupted; the same command goes on"
    assert b"Traceback" not in output
    [run] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    assert (run / "training_state.safetensors").exists()
    assert not [path for path in run.iterdir() if path.name.startswith(".tmp")]


def test_pretraining_leaves_a_labelled_backbone(tmp_path, run_script):
    line = "name : The Mill | area : by the river || The Mill stands by the river .\n"
    prose = "There was a mill by the river, and nobody went there in winter. " * 40
    talk = "User: Is there a mill?\nAssistant: There is, by the river.\n" * 40
    (tmp_path / "data.txt").write_text(line * 40)
    (tmp_path / "text.txt").write_text(talk)
    (tmp_path / "valid.txt").write_text("\n<|endoftext|>\n".join([talk, prose, line]))
    done = run_script(
        "scripts/pretrain_backbone.py",
        *(f"pretrain.{name}_files=[{name}.txt]" for name in ("data", "text", "valid")),
        f"pretrain.corpus_dir={tmp_path}",
        f"pretrain.output_dir={tmp_path}/backbone",
        "pretrain.shape={n_layer: 2, n_embd: 32, n_head: 4, n_positions: 512}",
        "pretrain.vocab_size=300",
        "pretrain.steps=4",
        "pretrain.log_every=1",
    )
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "backbone" / "pretraining.json").read_text())
    log = [json.loads(line) for line in open(tmp_path / "backbone" / "pretrain_log.jsonl")]
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3, 4]
    assert summary["tokens_seen"] == 4 * 2048 and len(summary["corpus"]) == 3
    config = json.loads((tmp_path / "backbone" / "config.json").read_text())
    assert config["stand_in"].startswith("stand-in: 12 x 192")


def test_rows_run_to_a_table_and_are_found_done(small, run_script):
    overrides = [
        f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={small}/runs",
        "train.max_steps=3", "decode.beam=2", "decode.max_new_tokens=8",
    ]  # fmt: skip
    command = ["scripts/reproduce.py", "demo", "--rows", "solo", "--out", small, *overrides]
    assert run_script(*command).code == 0
    rows = list(csv.DictReader(open(small / "table1.csv")))
    assert [row["row"] for row in rows] == ["Solo (r=128, s=0.4)"]
    [run] = (path for path in (small / "runs").iterdir() if path.is_dir())
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert any(path.name == "metrics.json" for path in before)
    assert run_script(*command).code == 0
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}

    shown = run_script("scripts/evaluate.py", f"run={run}").out
    assert f"ROUGE_L  {float(rows[0]['ROUGE_L']):.4f}" in shown
    mr = "mr=name[Fitzbillies' Mill], food[x]"
    text = run_script("scripts/generate.py", f"run={run}", mr).out
    assert len(text.splitlines()) == 1


def test_what_a_trained_run_can_be_given(small, trained, tmp_path, run_script):
    """Other places of its own data, and nothing that it would leave unread."""
    run = shutil.copytree(trained, tmp_path / "run")
    moved = shutil.copytree(small / "data", tmp_path / "moved")
    for path in (moved / "lora_format").iterdir():
        text = path.read_text()
        path.write_text("".join(text.splitlines(keepends=True)[:2]))
    of_run = f"run={run}"
    done = run_script("scripts/decode.py", of_run, f"data.dir={moved}", "data.sha256.test=null")
    assert done.code == 0, done.err
    mrs = {line.split("||")[0] for line in open(moved / "lora_format/test.txt")}
    assert len(open(done.out.strip()).readlines()) == 1 + len(mrs) <= 3
    [line] = (line for line in done.err.splitlines() if line.startswith("next: python "))
    done = run_script(*shlex.split(line)[2:])  # it scores the decoding just made, by its references
    assert done.code == 0 and "BLEU" in done.out, done.err
    for override in ("experiment=demo/lora", "row=demo/lora", "runs_dir=x", "together=false"):
        done = run_script("scripts/decode.py", of_run, override)
        assert done.code == 1
        assert ": with run=DIR the configuration of that run counts; leave it out" in done.err


def test_a_row_that_fails_does_not_stop_the_others(small, monkeypatch, capsys, scores_at_hand):
    overrides = [
        f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={small}/failing",
        "train.max_steps=1", "decode.beam=1", "decode.max_new_tokens=2",
        "adapter.span=9",  # of the demo's rows only solo has it; too long for 4 blocks
    ]  # fmt: skip
    arguments = ["demo", "--rows", "solo,none", "--out", str(small / "failing"), *overrides]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *arguments])
    with pytest.raises(SystemExit, match="1"):
        reproduce.main()
    errors = capsys.readouterr().err
    assert "failed rows:\n  demo/solo, lr 0.1, seed 1: adapter.start=10" in errors
    assert f"made: 1 runs in {small / 'failing'}" in errors
    rows = list(csv.DictReader(open(small / "failing" / "table1.csv")))
    assert [row["row"] for row in rows if row["BLEU"]] == ["The backbone as it is"]
    page = (small / "failing" / "table1.md").read_text()
    arguments = [*arguments[:2], "solo", *arguments[3:], f"runs_dir={small}/none"]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *arguments])
    with pytest.raises(SystemExit, match="1"):
        reproduce.main()
    assert "demo: no run to show, so its page stays as it was" in capsys.readouterr().err
    assert (small / "failing" / "table1.md").read_text() == page


def test_a_place_for_the_table_that_cannot_be_written_is_told_before_training(small, run_script):
    (small / "file").write_text("")
    overrides = [f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={small}/no"]
    arguments = ["demo", "--rows", "solo", "--out", small / "file/below", *overrides]
    result = run_script("scripts/reproduce.py", *arguments)
    assert result.code == 1 and "Not a directory; check the path" in result.err
    assert not (small / "no").exists()


@pytest.mark.parametrize(
    ("override", "expected", "fails"),
    [
        # peft's methods train alone
        ("seed=1", {"ssl": 3, "ssb": 3, "solo": 3, "dora": None}, False),
        ("seed=1,2", {"ssl": 6, "ssb": 6, "solo": 6, "dora": None}, False),
        ("adapter.start=12", {"ssl": 2, "ssb": 2, "dora": None}, True),  # solo does not fit
        ("together=false", dict.fromkeys(["ssl", "ssb", "solo", "dora"]), False),
    ],
)
def test_on_an_accelerator_rows_train_together(
    small, tmp_path, monkeypatch, capsys, scores_at_hand, override, expected, fails
):
    overrides = [
        f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={tmp_path}/runs",
        "train.max_steps=1", "decode.beam=1", "decode.max_new_tokens=2", override,
    ]  # fmt: skip
    arguments = ["demo-family", "--rows", "ssl,ssb,solo,dora", "--out", str(tmp_path), *overrides]
    monkeypatch.setattr(sharing, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *arguments])
    with pytest.raises(SystemExit, match=str(int(fails))):
        reproduce.main()
    told = capsys.readouterr().err
    assert ("adapter.start=12" in told) == fails
    n_done = 8 if override == "seed=1,2" else 4 - fails
    assert f"made: {n_done} runs in {tmp_path}/runs" in told
    trained = (tmp_path / "runs").glob("*/adapter.safetensors")
    found = {path.parent.name.split("-")[0]: path.parent / "environment.json" for path in trained}
    together = {m: json.loads(p.read_text())["train"].get("together") for m, p in found.items()}
    assert together == expected
    assert (tmp_path / "family.md").is_file() and (tmp_path / "family_loss.png").is_file()
    if not fails:  # a row that does not fit is an error of the plan's, too
        names, own = ("ssl", "ssb", "solo", "dora"), own_overrides(["demo-family"])
        rows = compose_rows([f"family/{name}" for name in names], overrides, own)
        states = Counter(line.state for line in planning.plan(rows)[0])
        assert states == {"done": len(rows)}


def test_rows_spread_over_processes(small):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="optional, not installed")
    overrides = [
        f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={small}/spread",
        "train.max_steps=1", "decode.beam=1", "decode.max_new_tokens=2", "adapter.span=9",
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={small}/sweep",
    ]  # fmt: skip
    arguments = ["demo", "--rows", "solo,lora,none", "--out", small / "spread", *overrides]
    result = call("scripts/reproduce.py", *arguments, code=1)
    assert "failed rows:\n  demo/solo, lr 0.1, seed 1: missing" in result.stderr
    rows = list(csv.DictReader(open(small / "spread" / "table1.csv")))
    assert [row["row"] for row in rows if row["BLEU"]] == ["The backbone as it is", "LoRA (r=8)"]


def test_decoding_any_checkpoint_with_the_outside_contract(small, run_script):
    tests, out = small / "contexts.txt", small / "out.tsv"
    lines = ["name : B | Type : pub||x", "name : A||y", "name : B | Type : pub||z"]
    tests.write_text("\n".join(lines) + "\n")
    done = run_script(
        "scripts/decode.py", f"model.path={small}/backbone", "adapter=none",
        f"data.test_path={tests}", f"decode.output={out}",
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = list(csv.reader(open(out, encoding="utf-8"), delimiter="\t"))
    assert rows[0] == ["MR", "output"]
    assert [row[0] for row in rows[1:]] == ["name : B | Type : pub", "name : A"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["scripts/train.py", "adapter=sole"], "error: adapter is 'sole'; known: adalora, bitfit"),
        (
            ["scripts/train.py", "adapter.rnk=8"],
            "error: adapter.rnk is no option; `python scripts/run.py",
        ),
        (["scripts/train.py", "train.lr=x"], "error: train.lr is x; it must be a number"),
        (["scripts/train.py", "train.lr=nan"], "error: train.lr is nan; it must be a finite numb"),
        (["scripts/train.py", "train=null"], "error: train is None; it must be the name of a"),
        (
            ["scripts/train.py", "data.name=e3e"],
            "error: data.name is 'e3e'; known: e2e, e2e_raw, e2e_clean, own",
        ),
        (["scripts/train.py", "seed=-1"], "error: seed is -1; it must be from 0 to 4294967295"),
        (
            ["scripts/train.py", "adapter.rank=1000000000"],
            "error: adapter.rank is 1000000000; trai",
        ),
        (
            ["scripts/train.py", "train.batch_size=1000000000"],
            "error: train.batch_size is 1000000000; training takes at least",
        ),
        (
            ["scripts/run.py", "-m", "experiment=table1/solo_s", "adapter.rank=8,0"],
            "error: adapter.rank is 0; it must be at least 1",
        ),
        (
            ["scripts/run.py", "-m", "experiment=table1/solo_s", "adapter.rank=8,1000000000"],
            "error: adapter.rank is 1000000000; training takes at least",
        ),
        (
            ["scripts/run.py", "-m", "train.betas=3,4"],
            "error: train.betas must be a list",
        ),
        (["scripts/evaluate.py", "decode.beam=0"], "error: beam=0: give a whole number"),
        (
            ["scripts/reproduce.py", "table1", "adapter.rnk=8"],
            "error: table1/full_m: adapter.rnk",
        ),
        (
            ["scripts/reproduce.py", "demo", "train.lr=x"],
            "error: demo/none: train.lr is x; it must",
        ),
        (
            ["scripts/plan.py", "table1", "train.epochs=0"],
            "error: table1/full_m: train.epochs is 0;",
        ),
        (
            ["scripts/study.py", "write", "cpi"],
            "error: unknown study 'cpi'; known: gpt2_s, standin12",
        ),
        (
            ["scripts/study.py", "run", "nowhere.json"],
            "error: nowhere.json is no file; `scripts/study.py write nowhere` makes",
        ),
        (["scripts/pretrain_backbone.py", "pretrain.steps=x"], "error: pretrain.steps is "),
        (["scripts/train.py", "experiment=x"], "error: unknown experiment 'x'; known: demo/full, "),
        (["scripts/train.py", "adapter.rank=0"], "error: adapter.rank is 0; it must be at least 1"),
        (["scripts/decode.py", "run=nowhere"], "error: nowhere holds no trained run; train it"),
        (["scripts/reproduce.py", "demo", "--rows", "x"], "error: unknown row 'x'; known: demo/"),
    ],
)
def test_one_clear_line(arguments, text, run_script):
    code, out, err = run_script(*arguments)
    assert text in err and err.count("\n") == 1
    assert (code, out) == (1, "")


def test_one_clear_line_as_the_shell_sees_it():
    result = call("scripts/train.py", "adapter.rank=0", code=1)
    assert result.stderr == "error: adapter.rank is 0; it must be at least 1\n"
    assert result.stdout == ""


@pytest.fixture(scope="module")
def trained(small) -> Path:
    """The directory of a trained run."""
    overrides = [f"model.path={small}/backbone", f"data.dir={small}/data", "train.max_steps=1"]
    run = make_run(
        compose_row("demo/lora", [*overrides, f"runs_dir={small}/runs", "decode.beam=2"])
    )
    train_run(run, lambda *progress: None)
    return run.directory


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: "a: [", "config.yaml is damaged (while parsing"),
        (lambda text: "", "config.yaml is damaged (it holds no groups of options); restore it"),
        (
            lambda text: text.replace("beam: 2", "beam: two"),
            "decode.beam is 'two'; it must be a wh",
        ),
        (lambda text: text.replace("\nseed:", "\nsede:"), "config.yaml: sede is no option"),
    ],
)
def test_a_damaged_configuration_of_a_run_is_one_clear_line(trained, tmp_path, change, text):
    run = shutil.copytree(trained, tmp_path / "run")
    written = (run / "config.yaml").read_text()
    assert change(written) != written
    (run / "config.yaml").write_text(change(written))
    with pytest.raises(ValueError) as error:
        open_run(run)
    assert str(error.value).startswith(f"{run}/config.yaml")
    assert text in str(error.value) and "\n" not in str(error.value)


def test_decoding_a_damaged_run_is_one_clear_line(trained, tmp_path, run_script):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "config.yaml").write_text("")
    result = run_script("scripts/decode.py", f"run={run}")
    line = f"error: {run}/config.yaml is damaged (it holds no groups of options); restore it, or "
    assert result.code == 1 and result.err.startswith(line) and result.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["reproduce.py", "demo", "--rows", "solo,lora"],
        ["reproduce.py", "demo", "--rows", "lora", "seed=1,2"],
        ["train.py", "-m", "experiment=demo/lora", "seed=1,2"],
        ["run.py", "-m", "experiment=demo/lora", "seed=1,2"],
    ],
)
def test_one_directory_for_several_runs_is_refused_before_any_work(
    small, tmp_path, run_script, command
):
    script, *arguments = command
    overrides = [
        f"model.path={small}/backbone", f"data.dir={small}/data", f"output_dir={tmp_path}/one",
        "train.max_steps=1",
    ]  # fmt: skip
    result = run_script(f"scripts/{script}", *arguments, *overrides)
    line = f"error: {tmp_path}/one would hold several runs; leave output_dir out, or train one run"
    assert (result.code, result.err) == (1, line + "\n") and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("row", "overrides", "text"),
    [
        (
            "table1/nope",
            [],
            "unknown experiment 'table1/nope'; known: demo/full, ",
        ),
        (
            "demo/solo",
            ["adapter.rnak=8"],
            "demo/solo: adapter.rnak is no option; `python scripts/run.py",
        ),
        ("demo/solo", ["train.lrr=1"], "demo/solo: train.lrr is no option"),
    ],
)
def test_bad_overrides_of_a_row(row, overrides, text):
    with pytest.raises(ValueError, match=text):
        compose_row(row, overrides)


@pytest.mark.parametrize("option", ["experiment=demo/solo", "row=x", "run=x", "mr=x", "sweep=lr"])
def test_what_is_of_one_run_is_refused_beside_a_table(option):
    with pytest.raises(ValueError, match=f"{option} does not belong here; rows come from their ta"):
        compose_rows(["table1/solo_s"], [option])


def test_overrides_reach_every_row():
    config = compose_row("table1/solo_m", ["model.path=here", "train.max_steps=200"])
    assert (config.model.path, config.train.max_steps) == ("here", 200)
    assert config.adapter.rank == 512 and config.row == "table1/solo_m"


@pytest.mark.parametrize(
    "override", ["seed=2", "model=gpt2_medium", "adapter.rank=2", "train=standin"]
)
def test_a_trained_run_keeps_what_it_was_trained_with(trained, override, run_script):
    done = run_script("scripts/decode.py", f"run={trained}", override)
    key = override.partition("=")[0]
    assert done.code == 1 and f"error: {override}: a trained run keeps its {key}" in done.err


def test_the_next_command_after_a_decoding_has_what_names_it_alone(trained, run_script):
    done = run_script("scripts/decode.py", f"run={trained}", "decode.beam=2", "force=true")
    last = done.err.splitlines()[-1]
    assert done.code == 0 and last.endswith(" decode.beam=2") and "force" not in last


def test_a_run_that_does_not_end_is_told_by_the_exit_code(small, tmp_path, run_script):
    given = [f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={tmp_path}"]
    given += ["experiment=demo/lora", "train.max_steps=2", "train.warmup_steps=0", "train.lr=1e30"]
    done = run_script("scripts/run.py", *given)
    assert done.code == 1 and "error: demo/lora, lr 1e+30, seed 1: " in done.err


def test_scores_go_beside_their_outputs_alone(trained, run_script):
    done = run_script("scripts/evaluate.py", f"run={trained}", "decode.output=mine.tsv")
    words = "decode.output=mine.tsv is for another command"
    assert done.code == 1 and words in done.err.replace(f"{ROOT}/", "")


def test_a_damaged_run_beside_a_table_s_is_told_by_the_exit_code(
    small, tmp_path, run_script, scores_at_hand
):
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/environment.json").write_text("{")
    given = [f"model.path={small}/backbone", f"data.dir={small}/data", f"runs_dir={tmp_path}/runs"]
    given += ["decode.max_new_tokens=4", "--rows", "none", "--out", tmp_path / "out"]
    done = run_script("scripts/reproduce.py", "demo", *given)
    assert done.code == 1 and "runs/x: left out, environment.json is damaged" in done.err
    assert (tmp_path / "out/table1.md").is_file()


def test_another_backbone_is_told_where_the_outputs_are_there_already(small, tmp_path, run_script):
    """Its scores would be those of the run's own."""
    given = [f"data.dir={small}/data", "train.max_steps=1", "decode.beam=1"]
    given += ["decode.max_new_tokens=2", f"runs_dir={tmp_path}/runs", "experiment=demo/lora"]
    trained = run_script("scripts/train.py", f"model.path={small}/backbone", *given)
    assert trained.code == 0, trained.err
    [run] = (path.parent for path in (tmp_path / "runs").glob("*/adapter.safetensors"))
    assert run_script("scripts/decode.py", f"run={run}", "decode.beam=1").code == 0
    other, moved = shutil.copytree(small / "backbone", tmp_path / "other"), tmp_path / "moved"
    shutil.copytree(small / "backbone", moved)
    weights = load_file(other / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()}, other / "model.safetensors")
    done = run_script("scripts/decode.py", f"run={run}", f"model.path={other}")
    assert done.code == 1 and f"was trained on another backbone than {other}; leave" in done.err
    assert run_script("scripts/decode.py", f"run={run}", f"model.path={moved}").code == 0
