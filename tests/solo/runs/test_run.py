"""Stages of a run: found again when done, refused where they would mix."""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from solo import files
from solo.datasets import data
from solo.decoding import rules
from solo.decoding.found import add_found, read_found
from solo.files import file_sha256
from solo.run_files import NEXT, STATE
from solo.runs import record, stages
from solo.runs.export import load_run
from solo.runs.run import make_run, open_run
from solo.tensors import save_tensors
from tests.conftest import make_model
from tests.solo.runs.conftest import changed, never, quiet


def trained(config, on_progress=quiet):
    run = make_run(config)
    stages.train_run(run, on_progress)
    return run


def test_train_then_decode_then_both_are_found_done(config):
    run = make_run(config)
    assert run.state() == ("missing", 0)
    stages.train_run(run, quiet)
    assert run.state() == ("trained", 3)
    output = stages.decode_run(run, quiet)
    assert run.state() == ("decoded", 3) and output.parent == run.decoding
    assert {path.name for path in run.directory.iterdir()} == {
        "config.yaml", "identity.json", "train_log.jsonl", "adapter.safetensors",
        "adapter.json", "environment.json", "decode",
    }  # fmt: skip
    assert {path.name for path in run.decoding.iterdir()} == {
        "identity.json", "environment.json", "predictions.tsv",
    }  # fmt: skip
    again = make_run(config)
    stages.train_run(again, never)
    assert stages.decode_run(again, never) == output
    lines = output.read_text("utf-8").splitlines()
    contexts = [mr for mr, _ in data.read_prompts(config.data.test_path)]
    assert lines[0] == "MR\toutput"
    assert [line.split("\t")[0] for line in lines[1:]] == contexts
    entry = record.stage_record(run.directory, "train")
    assert entry["steps"] == entry["planned_steps"] == 3
    assert entry["versions"]["torch"] == torch.__version__ and entry["backbone"]["file_sha256"]


def test_a_trained_run_is_opened_from_its_files(config):
    run = trained(config)
    assert open_run(run.directory).config == config
    assert open_run(run.directory).name == run.name
    with pytest.raises(FileNotFoundError, match="holds no trained run; train it first"):
        open_run(run.directory / "nowhere")


def test_an_interrupted_run_says_how_far_it_is(config):
    def stop(done, total, info):
        if done == 2:
            raise KeyboardInterrupt

    run = make_run(changed(config, train={"save_every": 1}))
    with pytest.raises(KeyboardInterrupt):
        stages.train_run(run, stop)
    assert run.state() == ("interrupted", 1)
    stages.train_run(run, quiet)
    assert run.state() == ("trained", 3)


@pytest.mark.parametrize("left", [b"", b'{"0": [1, 2'], ids=["whole", "cut"])
def test_an_interrupted_decoding_goes_on_with_the_next_batch(config, tmp_path, monkeypatch, left):
    searched = []
    whole = rules.search_batch

    def counted(model, prompts, *args, **options):
        searched.append(len(prompts))
        return whole(model, prompts, *args, **options)

    def stop(done, total, info):
        if done == kill:
            raise KeyboardInterrupt

    monkeypatch.setattr(rules, "search_batch", counted)
    config = changed(config, decode={"batch_size": 1})
    expected = stages.decode_run(trained(config), quiet).read_bytes()
    n = len(searched)
    run = trained(changed(config, runs_dir=str(tmp_path / "again")))
    for kill in (2, 3):  # the second one in what goes on
        with pytest.raises(KeyboardInterrupt):
            stages.decode_run(run, stop)
        assert run.state() == ("trained", 3) and len(searched) == n + kill
        with open(run.decoding / "found.jsonl", "ab") as file:
            file.write(left)
    assert stages.decode_run(run, quiet).read_bytes() == expected and len(searched) == 2 * n > 4
    assert not (run.decoding / "found.jsonl").exists()
    assert record.stage_record(run.decoding, "decode")["resumed"] is True


def test_what_is_no_hypothesis_is_searched_for_again(tmp_path):
    path = tmp_path / "found.jsonl"
    for batch in ({0: [5, 6], 2: []}, {1: [7]}):
        add_found(path, batch)
    assert read_found(path, 3) == {0: [5, 6], 2: [], 1: [7]}
    assert read_found(path, 2) == {1: [7]}  # of another test file
    for line in (
        '{"1": ["a"]}',
        "[1]",
        '{"-1": [1]}',
        '{"x": [1]}',
        '{"1": [-1]}',
        '{"1": [true]}',
    ):
        path.write_text('{"0": [5]}\n' + line + '\n{"2": [9]}\n')
        assert read_found(path, 3) == {0: [5], 2: [9]}


def test_other_decoding_is_another_directory_of_the_same_run(config):
    run = trained(config)
    first = stages.decode_run(run, quiet)
    before = first.read_bytes()
    other = make_run(changed(config, decode={"beam": 3}))
    stages.train_run(other, never)
    assert other.directory == run.directory
    second = stages.decode_run(other, quiet)
    assert second.parent != first.parent and first.read_bytes() == before
    assert other.state() == ("decoded", 3)


def test_changed_predictions_are_not_taken_for_decoded_ones(config):
    run = trained(config)
    output = stages.decode_run(run, quiet)
    output.write_text(output.read_text().replace("output", "outputs", 1))
    with pytest.raises(ValueError, match="predictions.tsv was changed since it was decoded; move"):
        stages.decode_run(run, quiet)


def test_a_forced_directory_with_another_run(config, tmp_path):
    config = changed(config, output_dir=str(tmp_path / "mine"))
    trained(config)
    before = (tmp_path / "mine" / "adapter.safetensors").read_bytes()
    with pytest.raises(ValueError, match="mine holds the run of another configuration; choose"):
        make_run(changed(config, seed=2))
    assert (tmp_path / "mine" / "adapter.safetensors").read_bytes() == before


HOLDER = """
import sys, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_has_in_use(config):
    run = make_run(config)
    run.directory.parent.mkdir()
    command = [sys.executable, "-c", HOLDER, run.directory.parent / f".{run.name}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        for stage in (stages.train_run, stages.decode_run):
            with pytest.raises(RuntimeError, match="is in use by another process; wait until"):
                stage(run, never)
        assert not run.directory.exists()
        holder.kill()  # a killed process leaves no lock behind
        holder.wait()
    stages.train_run(run, quiet)


CLAIMER = """
import sys
from pathlib import Path
from solo.runs.run import Run
run = Run(None, {}, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    run.note_row(f"row of {sys.argv[2]}, {number}")
"""


def test_no_row_is_lost_that_several_processes_claim(tmp_path):
    (tmp_path / "run").mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": files.ROOT}
    claimers = [
        subprocess.Popen([sys.executable, "-c", CLAIMER, tmp_path / "run", name], **pipes)
        for name in "ab"
    ]
    for claimer in claimers:
        claimer.stdout.readline()
    for claimer in claimers:  # both at once
        claimer.stdin.write(b"go\n")
        claimer.stdin.flush()
    for claimer in claimers:
        claimer.communicate()
    assert [claimer.returncode for claimer in claimers] == [0, 0]
    assert len(json.loads((tmp_path / "run" / "rows.json").read_text())) == 50


def test_a_lock_may_be_taken_again_by_its_holder(tmp_path):
    with record.lock(tmp_path / "run") as first, record.lock(tmp_path / "run") as again:
        assert first and not again  # which must not take away what the first one is writing
    with record.lock(tmp_path / "run"):
        pass


def test_the_row_is_noted_once(config):
    run = trained(changed(config, row="table1/solo_s"))
    trained(changed(config, row="table2/solo_s_r128_sparse"), never)
    trained(changed(config, row="table1/solo_s"), never)
    rows = json.loads((run.directory / "rows.json").read_text())
    assert rows == ["table1/solo_s", "table2/solo_s_r128_sparse"]


@pytest.mark.parametrize("name", ["train", "valid", "test", "model"])
def test_what_was_changed_meanwhile_is_not_used_under_the_old_name(
    config, checkpoint_dir, tokenizer, name
):
    run = make_run(config)
    assert run.decoding.name
    if name == "model":
        make_model(seed=4, vocab_size=len(tokenizer)).save_pretrained(checkpoint_dir)
    else:
        path = Path(getattr(config.data, f"{name}_path"))
        path.write_text(path.read_text().replace("a", "o"))
    with pytest.raises(ValueError, match="was changed meanwhile; start again"):
        stages.train_run(run, quiet)
        stages.decode_run(run, quiet)
    assert (run.state()[0] == "trained") == (name == "test")


def test_wrong_checksum_says_how_to_name_data_of_ones_own(config):
    with pytest.raises(ValueError, match="valid.txt .* is not the published file: ") as error:
        make_run(changed(config, data={"sha256": {"valid": "ab" * 32}}))
    assert f"expected sha256 {'ab' * 32}, found " in str(error.value)
    assert "data of your own set data.sha256.train=null (or valid, test)" in str(error.value)
    assert "delete" not in str(error.value)


def test_a_changed_backbone_is_refused_by_its_adapter(config, checkpoint_dir, tokenizer):
    run = trained(config)
    make_model(seed=4, vocab_size=len(tokenizer)).save_pretrained(checkpoint_dir)
    with pytest.raises(ValueError, match="was trained on another backbone"):
        stages.decode_run(run, quiet)


def test_predictions_file(tmp_path):
    rows = [("name : A", "An A ."), ("name : B", ""), ("name : C", 'say "C"\nand\x0cmore')]
    stages.write_predictions(tmp_path / "p.tsv", rows)
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


def test_a_run_whose_adapter_is_gone_is_untrained_for_every_command(config):
    run = trained(config)
    output = stages.decode_run(run, quiet)
    before = (run.directory / "adapter.safetensors").read_bytes()
    (run.directory / "adapter.safetensors").unlink()
    assert run.state() == ("missing", 0)
    with pytest.raises(FileNotFoundError, match="holds no trained run; train it first"):
        open_run(run.directory)
    stages.train_run(run, quiet)
    assert (run.directory / "adapter.safetensors").read_bytes() == before
    assert run.state() == ("decoded", 3) and stages.decode_run(run, never) == output


def test_other_weights_are_decoded_again(config):
    """As after a training on another machine, where rounding differs."""
    run = trained(config)
    before = stages.decode_run(run, quiet).read_bytes()
    found = run.decoding / "found.jsonl"
    found.write_text('{"0": [5]}\n')
    weights, described = (run.directory / name for name in ("adapter.safetensors", "adapter.json"))
    weights.unlink()
    stages.train_run(run, quiet)
    assert not found.exists() and run.state() == ("decoded", 3)
    moved = {name: tensor + 0.5 for name, tensor in load_file(weights).items()}
    save_tensors(weights, moved, {"format": "pt"})
    saved = json.loads(described.read_text())
    described.write_text(json.dumps(saved | {"weights_sha256": file_sha256(weights)}))
    assert run.state() == ("trained", 3)
    with record.stage(run.decoding, "evaluate") as entry:
        entry["inputs"] = {"predictions.tsv": record.stage_record(run.decoding, "decode")["sha256"]}
    assert stages.decode_run(run, quiet).read_bytes() != before
    assert run.state() == ("decoded", 3)  # the scores are those of the former outputs
    with record.stage(run.decoding, "evaluate") as entry:
        entry["inputs"] = {"predictions.tsv": record.stage_record(run.decoding, "decode")["sha256"]}
    assert run.state() == ("done", 3)


def test_a_run_is_not_decoded_with_another_config_or_tokenizer(config, checkpoint_dir):
    run, path = trained(config), checkpoint_dir / "config.json"
    shape = json.loads(path.read_text())
    path.write_text(json.dumps(shape | {"n_head": shape["n_head"] * 2}))
    words = "has the weights of the backbone that this run was trained on, but another config.json"
    with pytest.raises(ValueError, match=words):
        stages.decode_run(run, never)
    with pytest.raises(ValueError, match=words):
        load_run(run.directory)
    path.write_text(json.dumps(shape | {"architectures": ["a label"]}))
    stages.decode_run(run, quiet)


def test_two_configurations_with_one_short_name_are_told_apart(config, monkeypatch):
    monkeypatch.setattr("solo.runs.run.short_name", lambda identity: "0123abcd")
    trained(config)
    make_run(config)
    with pytest.raises(ValueError, match="holds the run of another configuration; choose another"):
        make_run(changed(config, seed=2))


def test_what_a_kill_left_is_tidied_up_by_the_next_start(config):
    run = trained(config)
    (run.directory / STATE).write_bytes(b"killed between the record and the removal")
    (run.directory / ".tmp.adapter.safetensors").write_bytes(b"killed in a write")
    stages.train_run(run, never)
    run.decoding.mkdir(parents=True)
    (run.decoding / ".tmpab12CD").write_bytes(b"killed in a write of safetensors")
    stages.decode_run(run, quiet)
    left = [path.name for path in run.directory.rglob("*")]
    assert STATE not in left and not [name for name in left if name.startswith(".tmp")]


def test_a_folder_that_is_no_runs_keeps_everything(config, tmp_path):
    """Nothing but hidden files is taken for free; what is in there stays."""
    home = tmp_path / "home"
    kept = [home / ".cache/.tmp_session/x", home / ".tmp_config", home / ".tmp.notes/thesis.txt"]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    run = make_run(changed(config, output_dir=str(home)))
    stages.train_run(run, quiet)
    stages.train_run(make_run(changed(config, output_dir=str(home))), never)
    assert all(path.read_text() == "precious" for path in kept)


def test_finished_runs_are_found_where_nothing_can_be_written(config, monkeypatch):
    run = trained(changed(config, row="table1/solo_s"))
    output = stages.decode_run(run, quiet)

    def read_only(directory):
        raise PermissionError(directory)

    monkeypatch.setattr(record, "lock", read_only)
    stages.train_run(run, never)
    assert stages.decode_run(run, never) == output


def as_nobody(task) -> str:
    """What a process without rights says: `task` in a fork, the text of its exception."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setuid(65534)
            task()
        except BaseException as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, encoding="utf-8") as file:
        return file.read()


def test_what_has_to_be_written_where_nothing_can_be_is_named(config):
    """A new row, a new decoding, a new run; what is there is read, the weights too."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        run = trained(changed(config, row="table1/solo_s", runs_dir=folder))
        stages.decode_run(run, quiet)
        other = make_run(changed(run.config, decode={"beam": 1}))
        fresh = make_run(changed(run.config, seed=2))
        assert run.decoding != other.decoding and fresh.directory != run.directory
        for path in (folder, run.directory):
            os.chmod(path, 0o555)
        assert as_nobody(lambda: run.note_row("table1/solo_s")) == ""
        assert as_nobody((run.directory / "adapter.safetensors").read_bytes) == ""
        denied = f"Permission denied: '{folder}'"  # which has the lock
        assert as_nobody(lambda: run.note_row("table1/lora_s")).endswith(denied)
        for stage, new in ((stages.decode_run, other), (stages.train_run, fresh)):
            assert as_nobody(partial(stage, new, never)).endswith(f"Permission denied: '{folder}'")
        for path in (folder, run.directory):
            os.chmod(path, 0o755)


def test_a_directory_of_other_files_is_not_made_a_run(config, tmp_path):
    (tmp_path / "mine").mkdir()
    mine = changed(config, output_dir=str(tmp_path / "mine"))
    assert make_run(mine).state() == ("missing", 0)  # an empty one is fine
    (tmp_path / "mine" / "config.yaml").write_text("precious: true")
    with pytest.raises(ValueError, match="mine holds files that are no run's; choose another out"):
        make_run(mine)
    with pytest.raises(ValueError, match="config.yaml is no folder; a run needs one"):
        make_run(changed(config, output_dir=str(tmp_path / "mine" / "config.yaml")))


def test_decoding_into_a_file_of_the_users_choice(config, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "OUTPUTS", tmp_path / "outputs.txt")
    run, out = trained(config), tmp_path / "out.tsv"
    for _ in range(2):  # the second time over its own output
        stages.decode_to(out, config, run.directory, quiet)
    assert out.read_bytes() == stages.decode_run(run, quiet).read_bytes()
    data_files = (config.data.train_path, config.data.test_path, config.evaluate.references)
    weights = tmp_path / "backbone" / "model.safetensors"
    for path in (*data_files, weights, run.directory / "adapter.safetensors"):
        before = Path(path).read_bytes()
        with pytest.raises(ValueError, match="name another output"):
            stages.decode_to(Path(path), config, run.directory, never, force=True)
        assert Path(path).read_bytes() == before
    out.write_text("precious")
    with pytest.raises(ValueError, match="or replace it with force=true"):
        stages.decode_to(out, config, run.directory, never)
    stages.decode_to(out, config, run.directory, quiet, force=True)
    assert out.read_text() != "precious"


def test_a_run_that_goes_on_alone_takes_the_state_that_others_left(config, monkeypatch):
    """A kill between the states of runs together leaves this one's as NEXT."""
    run = make_run(config)
    for path, more in ((run.directory / NEXT, {"leader": "../leader"}),
                       (run.directory.parent / "leader" / STATE, {})):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({}, path, {"counters": json.dumps({"step": 2, "events": []} | more)})

    def train(*arguments):
        assert (run.directory / STATE).exists() and not (run.directory / NEXT).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train", train)
    with pytest.raises(KeyboardInterrupt):
        stages.train_run(run, quiet)


def test_a_run_that_was_cut_short_says_how_many_steps_there_would_have_been(config):
    """By which the tables tell it from a whole one."""
    run = make_run(changed(config, train={"max_steps": 1, "epochs": 2}))
    stages.train_run(run, quiet)
    entry = record.stage_record(run.directory, "train")
    whole = 2 * -(-len(data.read_pairs(run.config.data.train_path)) // run.config.train.batch_size)
    assert (entry["steps"], entry["planned_steps"]) == (1, whole) and whole > 1
