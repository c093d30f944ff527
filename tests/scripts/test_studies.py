"""A list of configs/study becomes a study that any machine can work off, packed with its data."""

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import study as command
from solo.cli import studies
from solo.cli.rows import compose_row
from solo.files import read_json
from solo.runs.study import read_study
from solo.standin.demo_data import write_demo_data


def test_a_list_becomes_a_study_that_any_machine_can_read():
    """Paths below the checkout alone, the rates of the list, shorter sweeps, all seeds."""
    study = studies.resolve("gpu", ["pretrain.max_seconds=7", "train.max_steps=9"])
    listed = studies.read_list("gpu")
    assert study.pretrain["max_seconds"] == 7 and study.carried and study.together
    for place in ("corpus_dir", "tokenizer"):
        assert study.pretrain[place] == f"data/study/gpu/{place.removesuffix('_dir')}"
    assert [(job.name, job.config.seed) for job in study.jobs] == [
        (name, seed)
        for group in listed["groups"].values()
        for seed in group["seeds"]
        for name in group["names"]
    ]
    for job in study.jobs:
        paths = [job.config.model.path, job.config.runs_dir, job.config.data.train_path]
        assert not any(Path(path).is_absolute() for path in paths)
        assert job.config.train.max_steps == 9 and job.config.row.startswith("standin/")
        assert job.rate_of in study.sweeps or job.name == "none"
    for name, rates in listed["rates"].items():
        configs = study.sweeps[name]
        assert [config.train.lr for config in configs] == rates
        assert {config.train.max_steps for config in configs} == {800}
        assert {config.train.warmup_steps for config in configs} == {100}
        assert {config.row for config in configs} == {None}
        assert {Path(config.data.valid_path).name for config in configs} == {"valid_short.txt"}


@pytest.mark.parametrize(
    ("name", "overrides", "text"),
    [
        ("tpu", [], "unknown study 'tpu'; known: cpu, gpu, rehearsal"),
        ("gpu", ["train.lr=x"], "standin/.*: train.lr is x; it must be a number"),
        ("gpu", ["train.lrr=1"], "standin/.*: train.lrr is no option; `--help` lists them"),
        ("gpu", ["train.batch_size=0"], "standin/.*: train.batch_size is 0; at least 1"),
        ("gpu", ["pretrain.decay=0"], "pretrain.decay is 0"),
        ("gpu", ["pretrain.steps=x"], "pretrain.steps is 'x'; it must be a whole number or null"),
    ],
)
def test_a_list_that_does_not_resolve(name, overrides, text):
    with pytest.raises(ValueError, match=text):
        studies.resolve(name, overrides)


@pytest.fixture
def at_hand(tmp_path, monkeypatch, checkpoint_dir) -> Path:
    """Two names of the list `gpu`, generated data, all places of a study below tmp_path."""
    write_demo_data(tmp_path / "data", train_rows=12, valid_rows=9, test_mrs=3)
    (checkpoint_dir / "merges.txt").touch()
    listed = studies.read_list("gpu") | {"home": str(tmp_path / "home")}
    listed["groups"] = {"a": {"names": ["lora", "solo"], "seeds": [1]}}
    listed["rates"] = {"lora": [1e-3, 1e-2]}
    places = [f"data.dir={tmp_path}/data", f"model.path={checkpoint_dir}"]
    here = compose_row("standin/none", places)
    here = replace(here, data=replace(here.data, sha256=dict.fromkeys(studies.SPLITS)))
    recipe = studies.backbone_recipe("standin_small", [])
    recipe |= {"corpus_dir": str(tmp_path / "data"), "tokenizer": str(checkpoint_dir)}
    recipe |= {"train_files": ["pretrain.txt"], "valid_files": ["pretrain_valid.txt"]}
    monkeypatch.setattr(studies, "STUDIES", tmp_path / "study")
    monkeypatch.setattr(studies, "read_list", lambda name: listed)
    monkeypatch.setattr(studies, "backbone_recipe", lambda name, overrides: recipe)
    compose = compose_row
    monkeypatch.setattr(
        studies,
        "compose_row",
        lambda row, overrides: compose(row, overrides) if overrides else here,
    )
    return tmp_path


def test_a_study_is_written_with_all_that_it_needs(at_hand, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["study.py", "write", "gpu", "train.max_steps=9"])
    command.main()
    folder = at_hand / "study" / "gpu"
    study = read_study(folder / "study.json")
    assert capsys.readouterr().out == f"{folder / 'study.json'}: {len(study.jobs)} runs\n"
    assert {job.config.train.max_steps for job in study.jobs} == {9}
    for split in studies.SPLITS:
        path = at_hand / "data" / "lora_format" / f"{split}.txt"
        with lzma.open(folder / "e2e" / "lora_format" / f"{split}.txt.xz") as file:
            assert file.read() == path.read_bytes()
    valid = (at_hand / "data/lora_format/valid.txt").read_text().splitlines()
    assert (folder / "valid_short.txt").read_text().splitlines() == valid[::8]
    names = {path.name for path in (folder / "corpus").iterdir()}
    assert names == {"pretrain.txt", "pretrain_valid.txt"}
    assert (folder / "tokenizer" / "tokenizer.json").is_file()


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
    studies.write("gpu", ["train.max_steps=9"])
    path = at_hand / "study" / "gpu" / "study.json"
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


def test_time_that_is_up_ends_a_study_without_an_error(monkeypatch):
    with command.reporter(0.0)("label") as report, pytest.raises(command.TimeUp):
        report(1, 2)
