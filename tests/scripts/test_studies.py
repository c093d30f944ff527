"""A list of configs/study becomes a study that any machine can work off, with its data or not."""

import functools
import itertools
import json
import lzma
import multiprocessing
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from scripts import study as command
from solo.cli import studies, study_work
from solo.cli.command import CONFIGS
from solo.cli.study_list import Group
from solo.datasets.data import read_pairs
from solo.files import ROOT, read_json
from solo.runs import carry
from solo.runs.config import data_file
from solo.runs.study import Study, read_study
from solo.standin.demo_data import write_demo_data
from solo.triples import folder_sha256
from tests.solo.datasets.test_webnlg import entry
from tests.solo.datasets.test_webnlg import write as webnlg_file

NAME = "standin12"


@functools.cache
def resolved(name: str) -> tuple[dict, Study]:
    """A list and its study, as a machine that has it carried along gets it."""
    listed = studies.read_list(name)
    return listed, studies.resolve(name, ["train.log_every=9"], carried=True)


def test_a_list_becomes_a_study_that_any_machine_can_read():
    """Paths below the checkout alone, the rates of the list, shorter sweeps, all seeds."""
    listed, study = resolved(NAME)
    assert study.carried and study.home == Path("results/standin12")
    assert [(job.name, job.config.seed, job.neighbour) for job in study.jobs] == [
        (name, seed, side)
        for group in listed.groups.values()
        for seed in group.seeds
        for name in group.names
        for side in ((-1, 1) if group.neighbours else (0,))
    ]
    for job in study.jobs:
        paths = [job.config.model.path, job.config.runs_dir, job.config.data.train_path]
        assert not any(Path(path).is_absolute() for path in paths)
        assert job.config.data.train_path.startswith(f"data/study/{NAME}/data/")
        assert job.config.model.path == "data/backbones/standin12"
        assert job.config.train.log_every == 9 and job.config.train.precision == "bf16"
        assert job.config.row == listed.names[job.name].row
        folder = "neighbours" if job.neighbour else "runs"
        assert job.config.runs_dir == f"results/standin12/{folder}"
        own = any("train.lr=" in o for o in listed.names[job.name].overrides)
        assert (job.rate_of in study.sweeps) != (own or job.name == "none")
    assert study.sweeps.keys() == listed.rates.keys()
    for name, rates in listed.rates.items():
        configs = study.sweeps[name]
        assert [config.train.lr for config in configs] == rates
        whole = next(job.config for job in study.jobs if job.name == name).train
        for config in configs:  # a quarter as long, with the same shape of schedule
            assert config.row is None and config.runs_dir == "results/standin12/sweep"
            assert config.train.max_steps == round(10_516 / 4) and whole.epochs == 1
            assert config.train.warmup_steps == whole.warmup_steps / 4


LISTS = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))


@pytest.mark.parametrize("name", LISTS)
def test_every_list_resolves_and_its_rates_go_by_factors_of_about_three(name):
    """The protocol: grids wide enough that the best is inside, none finer for one method. A claim
    is about names that the groups run."""
    listed, study = resolved(name)
    for member, rates in listed.rates.items():
        steps = [b / a for a, b in itertools.pairwise(rates)]
        assert len(rates) >= 3 and all(2.9 < step < 3.4 for step in steps), (member, rates)
    run = {job.name for job in study.jobs}
    assert {side for claim in listed.claims for side in (claim.a, claim.b)} <= run
    assert run <= listed.names.keys()
    assert [listed.names[member].row for member in run].count(listed.against) >= 1


@pytest.mark.parametrize(
    ("name", "overrides", "text"),
    [
        ("tpu", [], "unknown study 'tpu'; known: gpt2_s, standin12"),
        (NAME, ["train.lr=x"], "family/none: train.lr is x; it must be a number"),
        (
            NAME,
            ["train.lrr=1"],
            "family/none: train.lrr is no option; `python scripts/run.py --help` lists them",
        ),
        (NAME, ["train.batch_size=0"], "family/none: train.batch_size is 0; at least 1"),
    ],
)
def test_a_list_that_does_not_resolve(name, overrides, text):
    with pytest.raises(ValueError, match=text):
        studies.resolve(name, overrides)


@pytest.mark.parametrize(
    "override",
    [
        "seed=7",
        "train=standin",
        "train.lr=1",
        "train.epochs=2",
        "runs_dir=x",
        "row=x",
        "+adapter.rank=8",
        "run=x",
    ],
)
def test_what_the_list_says_is_no_override(override):
    with pytest.raises(ValueError, match=f"{re.escape(override)} does not belong here; a study"):
        studies.write(NAME, [override])


@pytest.fixture
def at_hand(tmp_path, monkeypatch, checkpoint_dir) -> Path:
    """Two names of the list, generated data, all places of a study below tmp_path.

    The middle one of LoRA's rates is the best: the others hardly move it, or move it away.
    """
    write_demo_data(tmp_path / "data", train_rows=12, valid_rows=9, test_mrs=3)
    overrides = [
        "model=standin12", f"model.path={checkpoint_dir}", f"data.dir={tmp_path}/data",
        "data.sha256={train: null, valid: null, test: null}",
    ]  # fmt: skip
    listed = replace(
        studies.read_list(NAME),
        home=str(tmp_path / "home"),
        groups={"a": Group(["lora", "solo"], [1]), "b": Group(["lora"], [1], neighbours=True)},
        rates={"lora": [1e-7, 1e-1, 1e5]},
        outputs=["solo_5", "lora_5"],  # its runs have the plain recipe's five epochs
        overrides=overrides,
    )
    monkeypatch.setattr(studies, "STUDIES", tmp_path / "study")
    monkeypatch.setattr(studies, "read_list", lambda name: listed)
    return tmp_path


def test_a_study_is_written_with_its_data_where_that_is_wanted(at_hand, monkeypatch, capsys):
    folder = at_hand / "study" / NAME
    for carried in ([], ["--carry"]):
        monkeypatch.setattr("sys.argv", ["study.py", "write", *carried, NAME, "train.max_steps=9"])
        command.main()
        study = read_study(folder / "study.json")
        assert capsys.readouterr().out == f"{folder / 'study.json'}: {len(study.jobs)} runs\n"
        assert {config.train.max_steps for config in study.configs()} == {9}
        assert study.carried == bool(carried) == (folder / "data").exists()
    for split in studies.SPLITS:
        path = at_hand / "data" / "lora_format" / f"{split}.txt"
        packed = folder / "data" / "lora_format" / f"{split}.txt.xz"
        assert study.jobs[0].config.data.train_path == str(packed.parent / "train.txt")
        with lzma.open(packed) as file:
            assert file.read() == path.read_bytes()


def test_data_in_folders_are_carried_too(at_hand, tmp_path):
    """WebNLG's training set is a folder of XML files; it is read there as it is here."""
    for split in ("train", "dev"):
        webnlg_file(tmp_path / "xml" / split / "1triples" / "A.xml", entry("S", split))
        webnlg_file(tmp_path / "xml" / split / "B.xml", entry("T", "one", "two"))
    webnlg_file(tmp_path / "xml" / "test/testdata_with_lex.xml", entry("U", "three"))
    sums = [f"data.sha256.{split}=null" for split in studies.SPLITS]
    overrides = ["data=webnlg", f"data.dir={tmp_path / 'xml'}", *sums]
    studies.read_list(NAME).overrides[2:] = overrides
    studies.write(NAME, [], carried=True)
    study = read_study(at_hand / "study" / NAME / "study.json")
    carry.unpack(at_hand / "study" / NAME / carry.DATA)
    config = study.jobs[0].config
    there = [data_file(config, split) for split in studies.SPLITS]
    here = [tmp_path / "xml" / name for name in ("train", "dev", "test/testdata_with_lex.xml")]
    assert [read_pairs(path, "webnlg") for path in there] == [
        read_pairs(path, "webnlg") for path in here
    ]
    assert folder_sha256(there[0]) == folder_sha256(here[0])
    for alone in (f"data.test_path={here[2]}", f"data.train_path={here[0]}"):
        with pytest.raises(ValueError, match="--carry packs the files of one data.dir; .* is none"):
            studies.write(NAME, [alone], carried=True)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda v: v.pop("jobs"), "study.json is no study; write it with `scripts/study.py write`"),
        (lambda v: v["jobs"][0]["config"]["train"].update(lr="x"), "train.lr is 'x'; it must be"),
        (lambda v: v["jobs"][0]["config"]["train"].update(lrr=1), "train.lrr is no option; the op"),
        (
            lambda v: next(iter(v["sweeps"].values()))[0]["adapter"].update(rank=0),
            "adapter.rank is 0; it must be at least 1",
        ),
        (
            lambda v: next(iter(v["sweeps"].values()))[0]["adapter"].update(rank=10**9),
            "adapter.rank is 1000000000; training takes at least",
        ),
        (
            lambda v: v["jobs"][-1]["config"]["train"].update(batch_size=10**9),
            "train.batch_size is 1000000000; training takes at least",
        ),
    ],
)
def test_what_is_wrong_with_a_study_is_one_line_before_any_work(
    at_hand, monkeypatch, capsys, change, text
):
    studies.write(NAME, ["train.max_steps=9"])
    path = at_hand / "study" / NAME / "study.json"
    values = read_json(path) | {"carried": False}
    for config in (*(j["config"] for j in values["jobs"]), *sum(values["sweeps"].values(), [])):
        config["model"]["path"] = "openai-community/gpt2"
    change(values)
    path.write_text(json.dumps(values))
    monkeypatch.setattr("sys.argv", ["study.py", "run", str(path)])
    with pytest.raises(SystemExit, match="1"):
        command.main()
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and text in errors and errors.count("\n") == 1
    assert not (at_hand / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "study.json", "decode.beam=7"], "are decided when a study is written"),
        (["score", NAME, "--carry"], "are decided when a study is written"),
        (["write", NAME, "--together"], "are options of run"),
    ],
)
def test_what_another_verb_takes_is_not_ignored(monkeypatch, capsys, arguments, text):
    monkeypatch.setattr("sys.argv", ["study.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert text in capsys.readouterr().err


WORKER = """
import os, time
from solo.cli import study_work
if __name__ == "__main__":
    pool = study_work._pool(1)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 100)
    time.sleep(100)
"""


def test_a_worker_ends_with_its_parent(tmp_path):
    """Also where that is killed: nothing else would hold its runs, and a GPU's memory, for good."""
    (tmp_path / "parent.py").write_text(WORKER)
    command = [sys.executable, tmp_path / "parent.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(300):
        if not is_alive(worker):
            return
        time.sleep(0.1)
    pytest.fail("it is still there")


def test_workers_take_the_gpus_in_turns(monkeypatch):
    taken, begun = [], multiprocessing.get_context("spawn").Value("i", 0)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    monkeypatch.setattr(study_work.threading, "Thread", MagicMock())
    monkeypatch.setattr(study_work.signal, "signal", lambda *args: None)
    for _ in range(5):
        study_work._begin(torch.get_num_threads(), begun)
    assert taken == [0, 1, 0, 1, 0]


def test_workers_share_the_threads_that_this_process_may_use(monkeypatch):
    """Which OMP_NUM_THREADS, a scheduler or a container may have made fewer than the machine's."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    monkeypatch.setattr(study_work, "ProcessPoolExecutor", lambda *arguments: arguments)
    assert [study_work._pool(processes)[3][0] for processes in (1, 3, 20)] == [6, 2, 1]


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_an_interrupt_ends_a_study_and_its_workers(at_hand, monkeypatch):
    """None is left when the call returns, not merely told to end."""
    path, _ = studies.write(NAME, ["train.max_steps=3", "train.warmup_steps=1"])
    workers = []

    def interrupted(*args):
        workers.extend(worker.pid for worker in multiprocessing.active_children())
        raise KeyboardInterrupt

    monkeypatch.setattr(study_work, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_work.run(path, 1000.0, None, None, None, processes=2)
    assert len(workers) == 2 and not any(map(is_alive, workers))
    assert not list((at_hand / "home").glob("runs/*/environment.json"))


def test_time_that_is_up_ends_a_study_without_an_error(monkeypatch):
    with study_work.reporter(0.0)("label") as report, pytest.raises(study_work.TimeUp):
        report(1, 2)


@pytest.mark.parametrize("together", [[], ["--together"]])
def test_several_processes_do_what_one_does(at_hand, monkeypatch, capsys, together):
    """Sweeps, rates, runs and outputs; gathered while they go. Together the runs of a group draw
    dropout together in one process alone, the rates of a sweep in both."""
    monkeypatch.setattr(study_work, "GATHER_EVERY", 0.5)
    found = []
    for number in ("1", "2"):
        listed = replace(studies.read_list(NAME), home=str(at_hand / number))
        monkeypatch.setattr(studies, "read_list", lambda name, listed=listed: listed)
        path, _ = studies.write(NAME, ["train.max_steps=3", "train.warmup_steps=1"])
        values = read_json(path)
        for config in sum(values["sweeps"].values(), []):
            config["train"]["max_steps"] = 2
        path.write_text(json.dumps(values))
        arguments = [str(path), "--processes", number, "--out", str(at_hand / f"out{number}")]
        arguments += together
        monkeypatch.setattr("sys.argv", ["study.py", "run", *arguments])
        command.main()
        home = at_hand / number
        outputs = {p.parts[-4]: p.read_bytes() for p in home.glob("*/*/decode/*/*.tsv")}
        swept = [read_json(p)["train"] for p in home.glob("sweep/*/environment.json")]
        assert {entry.get("together", 1) for entry in swept} == ({3} if together else {1})
        found.append((outputs, (home / "rates" / "lora.json").read_bytes()))
        assert len(outputs) == 4 and (at_hand / f"out{number}" / f"{number}_0.tar").exists()
    assert found[0][1] == found[1][1]
    assert together or found[0] == found[1]
    monkeypatch.setattr("sys.argv", ["study.py", "run", *arguments, "--seconds", "0"])
    command.main()
    assert "the time is up" not in capsys.readouterr().err  # all of it was done
    for path in at_hand.glob("2/runs/*/adapter.safetensors"):
        path.unlink()  # weights may stay where they were made, and the data, whose checksum is kept
    asked = []
    monkeypatch.setattr(studies, "_score_packed", lambda folder, refs: asked.append(folder.name))
    check_scored(at_hand / "2", found[1][0])
    assert asked == ["runs", "neighbours"]  # both may have packed runs of before a metric
    lost = (
        f"the claim 'Does sparsity help?' is left out: no run in {at_hand}/2/runs is of solo_dense"
    )
    assert lost in capsys.readouterr().err


def check_scored(home: Path, outputs: dict[str, bytes]) -> None:
    """`score` makes the table and the pictures, a page with every run's outputs, and one with the
    rates beside the chosen one."""
    text, page = studies.score(NAME)
    assert page.read_text(encoding="utf-8") == text and "| LoRA (r=8), 5 epochs | " in text
    drawn = {path.name for path in home.glob("*.svg")}
    assert {f"{NAME}-BLEU.svg", f"{home.name}-rates.svg", "table_loss.svg"} <= drawn
    beside = (home / "neighbours.md").read_text(encoding="utf-8")
    rates = [line.split(" | ")[2] for line in beside.splitlines() if "LoRA (r=8)" in line]
    assert rates == ["1e-07", "**0.1**", "100000"]
    said = (home / "outputs.md").read_text(encoding="utf-8")
    assert 0 < said.index("| Solo") < said.index("| LoRA")  # as the list has them
    for table in [outputs[path.parent.name] for path in home.glob("runs/*/environment.json")]:
        for source, output in (line.split("\t") for line in table.decode().splitlines()[1:]):
            assert f"**{source}**" in said and f" | {output} | " in said


def test_data_are_carried_as_published_or_not_at_all(at_hand):
    with pytest.raises(ValueError, match="is not the published file"):
        studies.write(NAME, ["data.sha256.test=" + "0" * 64], carried=True)
    assert not (at_hand / "study" / NAME / "data").exists()


def test_what_is_done_is_gathered_while_the_rest_goes_on(monkeypatch):
    """Whoever ends the machine before the time is up loses a minute, not all."""
    monkeypatch.setattr(study_work, "GATHER_EVERY", -1)
    monkeypatch.setattr(study_work, "packed", lambda study: {})
    monkeypatch.setattr(study_work, "wait", lambda left, *_: (set(), set(list(left)[1:])))
    work, gathered = study_work._Work(None, [], None, False, 0.0), []
    work.left = {"one", "another"}
    work.go_on(lambda: gathered.append(len(work.left)))
    assert gathered == [1, 0]
