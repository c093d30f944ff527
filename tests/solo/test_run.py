"""Stages of a run: found again when done, refused where they would mix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from solo import files
from solo.runs import record, run
from solo.standin.demo_data import write_demo_data
from tests.conftest import make_model


@pytest.fixture
def config(tmp_path, checkpoint_dir) -> dict:
    data_dir = tmp_path / "data"
    write_demo_data(data_dir, train_rows=12, valid_rows=4, test_mrs=3, pretrain_lines=5,
                    pretrain_valid_lines=5)  # fmt: skip
    paths = {
        f"{s}_path": str(data_dir / f"lora_format/{s}.txt") for s in ("train", "valid", "test")
    }
    return {
        "model": {"path": str(checkpoint_dir), "revision": None},
        "data": paths | {"sha256": {}},
        "adapter": {"name": "solo", "rank": 4, "sparsity": 0.4},
        "train": {"batch_size": 4, "epochs": 1, "warmup_steps": 1, "log_every": 1},
        "decode": {"beam": 2, "length_penalty": 0.8, "no_repeat_ngram": 4, "max_new_tokens": 5,
                   "batch_size": 2, "output": None},
        "seed": 1, "row": None, "runs_dir": str(tmp_path / "runs"), "output_dir": None,
    }  # fmt: skip


def quiet(done, total, info):
    pass


def never(done, total, info):
    raise AssertionError("a stage that is done was run again")


def test_train_then_decode_then_both_are_found_done(config):
    run_dir = run.train_run(config, quiet)
    output = run.decode_run(config, run_dir, quiet)
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        "config.yaml", "identity.json", "train_log.jsonl", "adapter.safetensors",
        "adapter_config.json", "environment.json", "predictions.tsv",
    }  # fmt: skip
    assert run.train_run(config, never) == run_dir
    assert run.decode_run(config, run_dir, never) == output
    lines = output.read_text("utf-8").splitlines()
    contexts = [mr for mr, _ in run.data.read_prompts(config["data"]["test_path"])]
    assert lines[0] == "MR\toutput"
    assert [line.split("\t")[0] for line in lines[1:]] == contexts
    train = record.stage_record(run_dir, "train")
    assert train["steps"] == train["planned_steps"] == 3
    assert train["versions"]["torch"] == torch.__version__ and train["backbone"]["file_sha256"]


@pytest.mark.parametrize(
    "change",
    [("seed", None, 2), ("adapter", "rank", 5), ("train", "lr", 1e-3), ("train", "max_steps", 2)],
)
def test_another_configuration_is_another_directory(config, change):
    group, key, value = change
    first = run.run_directory(config, run.identity(config))
    config[group] = value if key is None else config[group] | {key: value}
    assert run.run_directory(config, run.identity(config)) != first


def test_other_decoding_is_another_run_that_shares_the_training(config):
    first = run.train_run(config, quiet)
    run.decode_run(config, first, quiet)
    config["decode"]["beam"] = 3
    second = run.train_run(config, never)
    assert second != first
    for name in ("adapter.safetensors", "adapter_config.json", "train_log.jsonl"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert record.stage_record(second, "train")["shared_from"] == first.name
    assert run.decode_run(config, second, quiet).exists()
    config["seed"] = 2
    with pytest.raises(AssertionError, match="was run again"):
        run.train_run(config, never)


def test_what_does_not_matter_keeps_the_directory(config):
    first = run.run_directory(config, run.identity(config))
    config["adapter"] |= {"variant": "paper", "dropout": 0.1}  # the defaults, spelt out
    config["train"] |= {"log_every": 7}
    config["decode"] |= {"batch_size": 9}
    assert run.run_directory(config, run.identity(config)) == first


def test_a_forced_directory_with_another_run(config, tmp_path):
    config["output_dir"] = str(tmp_path / "mine")
    run.train_run(config, quiet)
    before = (tmp_path / "mine" / "adapter.safetensors").read_bytes()
    config["seed"] = 2
    with pytest.raises(ValueError, match="mine holds the run of another configuration; choose"):
        run.train_run(config, quiet)
    assert (tmp_path / "mine" / "adapter.safetensors").read_bytes() == before


def test_other_decoding_does_not_overwrite_predictions(config):
    run_dir = run.train_run(config, quiet)
    before = run.decode_run(config, run_dir, quiet).read_bytes()
    config["decode"]["beam"] = 3
    with pytest.raises(ValueError, match="was decoded with other settings, or changed since; wri"):
        run.decode_run(config, run_dir, quiet)
    assert (run_dir / run.PREDICTIONS).read_bytes() == before


HOLDER = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_has_in_use(config):
    run_dir = run.run_directory(config, run.identity(config))
    run_dir.parent.mkdir()
    command = [sys.executable, "-c", HOLDER, run_dir.parent / f".{run_dir.name}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        for stage in (run.train_run, lambda c, p: run.decode_run(c, run_dir, p)):
            with pytest.raises(RuntimeError, match="is in use by another process; wait until"):
                stage(config, never)
        assert not run_dir.exists()
        holder.kill()  # a killed process leaves no lock behind
        holder.wait()
    assert run.train_run(config, quiet) == run_dir


def test_a_lock_may_be_taken_again_by_its_holder(tmp_path):
    with record.lock(tmp_path / "run"), record.lock(tmp_path / "run"):
        pass
    with record.lock(tmp_path / "run"):
        pass


def test_the_row_is_noted_once(config):
    config["row"] = "table1/solo_s"
    run_dir = run.train_run(config, quiet)
    run.train_run(config | {"row": "table2/solo_s_r128_sparse"}, never)
    run.train_run(config, never)
    rows = json.loads((run_dir / "rows.json").read_text())
    assert rows == ["table1/solo_s", "table2/solo_s_r128_sparse"]


def test_wrong_checksum_names_both_and_the_remedy(config):
    config["data"]["sha256"] = {"valid": "ab" * 32}
    with pytest.raises(
        ValueError, match="valid.txt .* is damaged .*: expected sha256 abababab.*; delete"
    ):
        run.train_run(config, quiet)


def test_a_changed_backbone_is_refused_by_its_adapter(config, checkpoint_dir, tokenizer):
    run_dir = run.train_run(config, quiet)
    make_model(seed=4, vocab_size=len(tokenizer)).save_pretrained(checkpoint_dir)
    with pytest.raises(ValueError, match="was trained on another backbone"):
        run.decode_run(config, run_dir, quiet)


def test_bad_options_come_before_the_model_is_loaded(config):
    config["model"]["path"] = "no/such-model"
    config["adapter"]["rank"] = 0
    with pytest.raises(ValueError, match="adapter.rank is 0"):
        run.train_run(config, quiet)


def test_a_bad_decoding_option_comes_before_the_training(config):
    config["decode"]["beam"] = 0
    with pytest.raises(ValueError, match="beam=0: give a whole number of at least 1"):
        run.train_run(config, never)
    assert not (Path(config["runs_dir"])).exists()


def test_predictions_file(tmp_path):
    rows = [("name : A", "An A ."), ("name : B", ""), ("name : C", 'say "C"\nand\x0cmore')]
    run.write_predictions(tmp_path / "p.tsv", rows)
    assert (tmp_path / "p.tsv").read_text("utf-8") == (
        'MR\toutput\nname : A\tAn A .\nname : B\t""\nname : C\t"say ""C"" and more"\n'
    )


def test_the_record_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_git_has_no_commit(monkeypatch):
    assert len(record.environment()["commit"] or "0" * 40) == 40
    monkeypatch.setenv("PATH", "")
    environment = record.environment()
    assert environment["commit"] is None and environment["dirty"] is None


def test_a_failed_stage_leaves_no_entry(tmp_path):
    with pytest.raises(RuntimeError), record.stage(tmp_path, "train"):
        raise RuntimeError
    assert record.stage_record(tmp_path, "train") is None
    with record.stage(tmp_path, "train") as entry:
        entry["steps"] = 3
    saved = json.loads((tmp_path / "environment.json").read_text())
    assert saved["train"]["steps"] == 3 and saved["train"]["hardware"]["cpu"]
