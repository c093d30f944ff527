"""Many runs: shared, skipped, resumed; a failure is a line and stops no other."""

import gc
import json
import subprocess
import sys
import weakref
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from solo.adapters import make_config
from solo.run_files import DIVERGED, NEXT, STATE, WEIGHTS
from solo.runs import identity, record, stages
from solo.runs.run import STATES, make_run
from solo.runs.runner import run_all
from solo.runs.sharing import can_share, groups
from solo.training.state import read_counters
from tests.solo.runs.conftest import changed, never, quiet
from tests.solo.runs.test_run import HOLDER


@contextmanager
def silent(label, unit="step"):
    yield quiet


@contextmanager
def nothing(label, unit="step"):
    yield never


def of(config, name: str, lr: float, seed: int = 1, **options):
    _, adapter = make_config({"name": name, **options})
    return make_run(changed(config, method=name, adapter=adapter, seed=seed, train={"lr": lr}))


@pytest.fixture
def runs(config):
    return [
        of(config, "solo", 1e-2, rank=4, sparsity=0.4, dropout=0.1),
        of(config, "solo", 1e-3, 2, rank=7, dropout=0.0),
        of(config, "lora", 1e-2, rank=2, dropout=0.5),
        of(config, "full", 1e-3),
        of(config, "none", 1e-3),
    ]


def same_weights(run, other) -> None:
    """Up to rounding."""
    ours, theirs = (load_file(r.directory / WEIGHTS) for r in (run, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-5)


def test_runs_that_share_passes_are_what_they_are_alone(runs, config, tmp_path):
    assert len(groups(runs)) == 1
    outcome = run_all(runs, silent, "trained", train_together=True)
    assert outcome.failures == [] and [run.state()[0] for run in runs] == ["trained"] * 5
    entries = [record.stage_record(run.directory, "train") for run in runs]
    assert [entry.get("together") for entry in entries] == [3, 3, 3, None, None]
    for run, entry in zip(runs, entries, strict=True):
        alone = make_run(changed(run.config, runs_dir=str(tmp_path / "alone")))
        stages.train_run(alone, quiet)
        assert {p.name for p in run.directory.iterdir()} == {
            p.name for p in alone.directory.iterdir()
        }
        expected = record.stage_record(alone.directory, "train")
        assert entry.keys() - {"together"} == expected.keys()
        for key in ("steps", "planned_steps", "n_params", "identity", "backbone", "processes"):
            assert entry[key] == expected[key], key
        assert entry["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-4)
        same_weights(run, alone)
    assert run_all(runs, nothing, "trained", train_together=True).failures == []


def test_what_is_trained_already_takes_no_part(runs, config):
    given = [*runs[:3], of(config, "lora", 1e-3, rank=2)]
    for run in given[:2]:
        stages.train_run(run, quiet)
    before = [(run.directory / WEIGHTS).stat().st_mtime_ns for run in given[:2]]
    assert run_all(given, silent, "trained", train_together=True).failures == []
    entries = [record.stage_record(run.directory, "train") for run in given]
    assert [entry.get("together") for entry in entries] == [None, None, 2, 2]
    assert [(run.directory / WEIGHTS).stat().st_mtime_ns for run in given[:2]] == before


def test_one_in_use_elsewhere_keeps_a_group_apart(runs):
    """At no moment do two processes write into a run's directory; the others train one by one."""
    run = runs[1]
    run.directory.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-c", HOLDER, run.directory.parent / f".{run.name}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        said: list[str] = []
        outcome = run_all(runs[:3], silent, "trained", train_together=True, say=said.append)
        holder.kill()
    assert any("together: RuntimeError" in line and "in use by another" in line for line in said)
    [failure] = outcome.failures
    assert "is in use by another process" in failure and not run.directory.exists()
    entries = [record.stage_record(runs[k].directory, "train") for k in (0, 2)]
    assert [entry.get("together") for entry in entries] == [None, None]


def test_who_can_share_a_backbone(config, runs):
    """Not who attends to more than a position, changes the backbone, or takes the plain path."""
    plain = make_run(changed(runs[0].config, train={"packed": False}))
    others = [of(config, "prefix", 1e-3), of(config, "dora", 1e-3), plain]
    assert [can_share(run) for run in [*runs, *others]] == [True] * 3 + [False] * 5


def test_what_differs_more_is_another_group(runs):
    first, second = runs[:2]
    for change in (
        {"train": {"batch_size": 2}},
        {"train": {"max_steps": 2}},
        {"train": {"label_smoothing": 0.2}},
        {"data": {"valid_path": first.config.data.train_path}},
    ):
        assert len(groups([first, make_run(changed(second.config, **change))])) == 2, change


def test_shared_passes_go_on_where_they_were_killed(runs, tmp_path):
    saving = [make_run(changed(run.config, train={"save_every": 1})) for run in runs[:3]]
    whole = [make_run(changed(run.config, runs_dir=str(tmp_path / "whole"))) for run in saving]
    run_all(whole, silent, "trained", train_together=True)

    with pytest.raises(KeyboardInterrupt):
        run_all(saving, partial(killed, 2), "trained", train_together=True)
    assert run_all(saving, silent, "trained", train_together=True).failures == []
    for run, other in zip(saving, whole, strict=True):
        weights = [(r.directory / WEIGHTS).read_bytes() for r in (run, other)]
        assert weights[0] == weights[1] and not (run.directory / STATE).exists()


def test_a_kill_between_their_states_leaves_runs_together(runs):
    """The second one's next state waits for the first one's, which is there."""
    saving = [make_run(changed(run.config, train={"save_every": 1})) for run in runs[:2]]
    with pytest.raises(KeyboardInterrupt):
        run_all(saving, partial(killed, 3), "trained", train_together=True)
    [led] = [r for r in saving if "leader" in read_counters(r.directory / STATE)]
    (led.directory / STATE).rename(led.directory / NEXT)
    seen = []

    @contextmanager
    def watch(label, unit="step"):
        yield lambda done, total, info: seen.append((label.split()[1], done))

    assert run_all(saving, watch, "trained", train_together=True).failures == []
    assert seen[0] == ("2", 3)  # both of them, from their third step on


def test_one_that_diverges_leaves_the_others_and_is_not_tried_again(runs, monkeypatch):
    bad = make_run(changed(runs[1].config, train={"lr": 1e30, "warmup_steps": 0}))
    given = [make_run(changed(r.config, train={"warmup_steps": 0})) for r in (runs[0], runs[2])]
    given.insert(1, bad)
    [failure] = run_all(given, silent, "trained", train_together=True).failures
    assert failure.startswith("solo, lr 1e+30, seed 2: the loss is")
    entries = [record.stage_record(run.directory, "train") for run in (given[0], given[2])]
    assert [entry["together"] for entry in entries] == [2, 2]
    monkeypatch.setattr(stages, "train_run", lambda *args: None)
    [failure] = run_all([bad], silent, "trained").failures
    assert f"delete {bad.directory / DIVERGED} to try" in failure


@pytest.mark.parametrize("lost", ["unfit", "diverged"])
@pytest.mark.parametrize("n_fit", [1, 2])
def test_without_one_that_is_lost_the_others_end_as_they_do_alone(config, lost, n_fit):
    """Whether it could not begin, or diverged, and after a kill, too."""
    recipe = {"warmup_steps": 0, "max_steps": 4, "save_every": 1}

    def given(folder):
        few = [of(config, "lora", lr, rank=2, dropout=0.1) for lr in (1e-2, 1e-3)[:n_fit]]
        few += [of(config, "mergelor2c", 1e-2, rank=2, interval=1000)] if lost == "unfit" else []
        few += [of(config, "lora", 1e30, rank=2, dropout=0.1)] if lost == "diverged" else []
        place = f"{config.runs_dir}-{folder}"
        return [make_run(changed(run.config, train=recipe, runs_dir=place)) for run in few]

    shared, alone = given("shared"), given("alone")
    with pytest.raises(KeyboardInterrupt):
        run_all(shared, partial(killed, 3), "trained", train_together=True)
    for runs, together in ((shared, True), (alone, False)):
        [failure] = run_all(runs, silent, "trained", train_together=together).failures
        assert ("the schedule does not fit" if lost == "unfit" else "1e+30") in failure
    for run, other in zip(shared[:n_fit], alone, strict=False):
        same_weights(run, other)


def test_a_divergence_hides_no_other_failure_of_the_same_label(config, monkeypatch):
    """Runs of one method, rate and seed that differ in their rank are called alike."""
    bad, other = (of(config, "lora", 1e30, rank=rank, dropout=0.0) for rank in (2, 3))
    assert bad.config.label == other.config.label

    def train(run, on_progress, train_run=stages.train_run):
        if run.directory == other.directory:
            raise MemoryError
        return train_run(run, on_progress)

    monkeypatch.setattr(stages, "train_run", train)
    outcome = run_all([bad, other], silent, "trained")
    assert len(outcome.failures) == 2
    [line] = outcome.unexpected
    assert "too little memory" in line


def test_divergence_in_the_last_step_leaves_nothing_finished(runs):
    short = {"max_steps": 1, "warmup_steps": 0}
    rates = (1e-3, 1e30, 1e-3)
    few = [
        make_run(changed(run.config, train=short | {"lr": lr}))
        for run, lr in zip(runs, rates, strict=False)
    ]
    [failure] = run_all(few, silent, "trained", train_together=True).failures
    assert failure.startswith("solo, lr 1e+30, seed 2: the loss is nan at step 1")
    assert [run.state()[0] for run in few] == ["trained", "missing", "trained"]
    assert not (few[1].directory / WEIGHTS).exists()


def test_runs_that_are_too_much_together_say_what_to_do(runs, monkeypatch):
    """And let go of what they had in memory, before each is tried alone."""
    taken = []

    def too_much(*args):
        model = torch.nn.Linear(1, 1)
        taken.append(weakref.ref(model))
        try:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError("tried once more") from error

    def train(run, on_progress, train_run=stages.train_run):
        assert taken[0]() is None
        train_run(run, on_progress)

    monkeypatch.setattr("solo.runs.sharing._train_together", too_much)
    monkeypatch.setattr(stages, "train_run", train)
    said = []
    gc.disable()  # it would come at some time
    try:
        run_all(runs[:2], silent, "trained", train_together=True, say=said.append)
    finally:
        gc.enable()
    assert [run.state()[0] for run in runs[:2]] == ["trained", "trained"]  # one by one
    assert "2 runs together are too much for the memory" in said[0] and "together=false" in said[0]


def test_a_schedule_that_does_not_fit_stops_its_run_alone(runs, config):
    bad = of(config, "mergelor2c", 1e-2, rank=2, interval=1000)
    [failure] = run_all([runs[0], bad, runs[2]], silent, "trained", train_together=True).failures
    assert "the schedule does not fit: 1 times merge, every 1000 steps" in failure
    assert [run.state()[0] for run in (runs[0], bad, runs[2])] == ["trained", "missing", "trained"]


@contextmanager
def killed(step, label, unit="step"):
    """A report whose progress ends the process at a step."""

    def kill(done, total, info):
        if done == step:
            raise KeyboardInterrupt

    yield kill


def test_what_may_surprise_is_told_before_the_training(config, monkeypatch):
    """A column that is taken for that of the MRs, a name that will change; not of what is done."""
    rows = [line.split("||") for line in Path(config.data.train_path).read_text().splitlines()]
    own = Path(config.data.train_path).with_suffix(".jsonl")
    lines = [json.dumps({"source": mr.strip(), "ref": ref.strip()}) for mr, ref in rows]
    own.write_text("\n".join(lines) + "\n")
    run = of(changed(config, data={"name": "own", "train_path": str(own)}), "lora", 1e-2, rank=2)
    table, said = identity._table() | {"adapter": {}}, []
    monkeypatch.setattr(identity, "_table", lambda: table)
    assert run_all([run], silent, "trained", say=said.append).failures == []
    notes = [line for line in said if line.startswith("note: ")]
    assert notes == [
        "note: lora has no defaults in solo/runs/defaults.json yet, and its runs get another name "
        "then and train again; run `make methods` first",
        f"note: the MRs of {own} are its column 'source', the texts its 'ref'",
    ]
    said.clear()
    assert run_all([run], nothing, "trained", say=said.append).failures == []
    assert not any(line.startswith("note: ") for line in said)


def test_rows_with_the_same_settings_share_a_run(config):
    rows = [make_run(changed(config, row=row)) for row in ("table1/solo_s", "table6/solo_s")]
    arrived = []
    outcome = run_all(
        rows, silent, "done", lambda some: [{"BLEU": 0.5} for _ in some],
        on_done=lambda run, scores: arrived.append((run, scores)),
    )  # fmt: skip
    assert outcome.failures == [] and outcome.scores == {rows[0].decoding: {"BLEU": 0.5}}
    assert arrived == [(rows[0], {"BLEU": 0.5})]
    assert '"table1/solo_s",\n  "table6/solo_s"' in (rows[0].directory / "rows.json").read_text()


def test_two_configurations_never_end_in_one_directory(config, tmp_path):
    mine = str(tmp_path / "mine")
    given = [make_run(changed(config, output_dir=mine, seed=seed)) for seed in (1, 2)]
    with pytest.raises(ValueError, match="mine would hold several runs; leave output_dir out"):
        run_all(given, nothing, "trained")
    assert not (tmp_path / "mine").exists()


def test_a_failed_evaluation_is_a_failure_of_its_run(config):
    def broken(runs):
        raise RuntimeError("no Java")

    run = make_run(config)
    for at_once in (False, True):
        outcome = run_all([run], silent, "done", broken, at_once=at_once)
        assert outcome.failures == ["solo, lr 0.0002, seed 1: no Java"]
    assert run.state()[0] == "decoded" and STATES.index("decoded") == 3


def test_predictions_that_cannot_be_scored_stop_no_other(config):
    runs = [make_run(changed(config, seed=seed)) for seed in (1, 2, 3)]

    def evaluate(some):
        if runs[1] in some:
            raise ValueError("predictions.tsv, line 2: 3 columns")
        return [{"BLEU": 0.5} for _ in some]

    outcome = run_all(runs, silent, "done", evaluate, at_once=True)
    [failure] = outcome.failures
    assert failure.startswith("solo, lr") and failure.endswith("line 2: 3 columns")
    assert set(outcome.scores) == {runs[0].decoding, runs[2].decoding}


def out_of_memory(*args):
    raise MemoryError


def test_an_error_of_any_kind_in_a_group_stops_no_other(runs, monkeypatch):
    monkeypatch.setattr(stages, "load_data", out_of_memory)
    failures = run_all(runs[:2], silent, "trained", train_together=True).failures
    assert [failure.split(": ", 1)[1] for failure in failures] == [
        "too little memory; lower train.batch_size or decode.batch_size, or take less data"
    ] * 2


def test_a_damaged_state_stops_its_run_alone(runs):
    saving = [make_run(changed(run.config, train={"save_every": 1})) for run in runs[:3]]
    saving[1].directory.mkdir(parents=True)
    (saving[1].directory / "identity.json").write_text(json.dumps({"training": saving[1].identity}))
    (saving[1].directory / STATE).write_bytes(b"{}")
    [failure] = run_all(saving, silent, "trained", train_together=True).failures
    assert f"{saving[1].directory / STATE} is damaged" in failure and "move it away" in failure
    assert [saving[k].state()[0] for k in (0, 2)] == ["trained", "trained"]
