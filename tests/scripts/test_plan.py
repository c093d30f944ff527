"""What is left of a table: states, shared runs, figures by hand, nothing needed to be there."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GPT2Config

from solo import files
from solo.adapters.base import Method
from solo.backbones.loading import load_tokenizer
from solo.cli import planning as plan
from solo.cli import timing
from solo.cli.compose import compose_config, expand
from solo.cli.launch import launch
from solo.cli.rows import compose_rows, row_names, split_launcher, tables_named
from solo.datasets.data import encode, read_pairs
from solo.run_files import ADAPTER, STATE, WEIGHTS
from solo.runs import checkpoint, record
from solo.runs.config import data_file
from solo.runs.run import make_run
from solo.standin.demo_data import write_demo_data
from solo.training.log import Log
from solo.training.state import save_state
from tests.conftest import make_model
from tests.solo.datasets.test_webnlg import entry
from tests.solo.datasets.test_webnlg import write as webnlg_file

NOWHERE = ["data.dir=nowhere/at/all"]


def lines_of(rows: list[str], *overrides) -> list[plan.Line]:
    lines, damaged = plan.plan(compose_rows(rows, [*NOWHERE, *overrides]))
    assert damaged == []
    return lines


def test_the_paper_without_weights_or_data(tmp_path):
    """37 rows and 30 runs of 52,580 steps (10,516 an epoch: 42,061 examples by 4)."""
    rows = compose_rows(row_names(tables_named("all"), None), [*NOWHERE, f"runs_dir={tmp_path}"])
    lines, damaged = plan.plan(rows)
    assert damaged == []
    assert (len(rows), len(lines)) == (37, 30)
    assert {(line.state, line.steps) for line in lines} == {("missing", 52_580)}
    [lora_s] = [line for line in lines if line.rows[0].name == "table1/lora_s"]
    assert [row.name for row in lora_s.rows] == ["table1/lora_s", "table2/lora_s"]
    assert lora_s.size == 4 * 294_912  # 12 blocks x 4 x 768 x 8 floats
    text = plan.report(lines)
    assert "37 rows, 30 runs: 30 missing\nleft: 1,577,400 steps, hours not known" in text
    absent = plan.absent(lines)
    missing = "data nowhere/at/all/lora_format/train.txt: `python scripts/prepare_data.py e2e` "
    assert any(line.startswith(missing) for line in absent)
    size = [line for line in absent if line.startswith("backbone openai-community/gpt2-medium")]
    assert size == [] or "(1.4 GB): neither a directory nor in the hub's cache" in size[0]


def test_without_data_a_run_has_the_directory_that_it_has_with_them(real):
    [with_data] = compose_rows(["table1/solo_s"], [f"data.dir={real('E2E_DATA_DIR')}"])
    [without] = compose_rows(["table1/solo_s"], NOWHERE)
    with_data, without = make_run(with_data.config), plan.planned_run(without)
    assert without.directory == with_data.directory and without.decoding == with_data.decoding


def finish(directory, *names):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        with record.stage(directory, name) as entry:
            entry |= {"steps": 7, "weights_sha256": "0"}
        if name == "train":
            leave_adapter(directory)


def leave_adapter(directory):
    (directory / WEIGHTS).touch()
    saved = dict.fromkeys(checkpoint.KEYS, "0") | {"options": {}, "seed": 1}
    files.write_json(directory / ADAPTER, saved)


def test_states_and_what_is_left(tmp_path):
    options = [f"runs_dir={tmp_path}", "train.max_steps=7"]
    [line] = lines_of(["table1/solo_s"], *options)
    assert (line.state, line.steps) == ("missing", 7)
    run = plan.planned_run(line.rows[0])
    files.write_json(run.directory / "identity.json", {"training": run.identity})
    weight = torch.nn.Parameter(torch.zeros(2))
    attached = Method({"w": weight})
    optimizer, path = torch.optim.AdamW([weight]), run.directory / STATE
    save_state(path, attached, optimizer, {"step": 5})
    [line] = lines_of(["table1/solo_s"], *options)
    assert (line.state, line.done, line.steps) == ("interrupted", 5, 2)
    assert "interrupted at 5" in plan.report([line])
    path.write_bytes(path.read_bytes()[:-1])
    rows = compose_rows(["table1/solo_s", "table1/lora_s"], [*NOWHERE, *options])
    [line], [damaged] = plan.plan(rows)
    assert line.state == "missing" and f"{path} is damaged" in damaged
    path.unlink()
    for stage, state in (("train", "trained"), ("decode", "decoded"), ("evaluate", "done")):
        finish(run.directory if stage == "train" else run.decoding, stage)
        lines = lines_of(["table1/solo_s", "table1/lora_s"], *options)
        assert [line.state for line in lines] == ["missing", state]  # what is missing comes first
        assert (lines[1].steps, lines[1].size) == (0, 0)
    assert run.state() == ("done", 7)


def test_a_damaged_run_is_named_and_the_others_are_planned(tmp_path):
    options = [*NOWHERE, f"runs_dir={tmp_path}"]
    rows = compose_rows(["table1/solo_s", "table1/lora_s"], options)
    directory = plan.planned_run(rows[0]).directory
    directory.mkdir()
    (directory / STATE).write_bytes(b"cut short")
    [line], [damaged] = plan.plan(rows)
    assert line.rows[0].name == "table1/lora_s" and damaged.startswith("table1/solo_s, lr 0.0002")


def test_hours_by_hand(tmp_path):
    """Two epochs of E2E at 1,000 tokens/s, valid once an epoch at half the cost, 630 MRs of 2 s."""
    [line] = lines_of(["table1/solo_s"], f"runs_dir={tmp_path}", "train.max_steps=21032")
    training = 21_032 * 4 * 53.3 / 1000
    validation = 21_032 * 4 / 42_061 * 4_672 * 59.2 / 2 / 1000
    expected = (training + validation + 630 * 2.0) / 3600
    assert plan.hours(line, timing.Speed(1000.0, 2.0, "")) == pytest.approx(expected)
    assert plan.hours(line, timing.Speed(1000.0, None, "")) is None
    line.steps = 100  # less than an epoch, and still validated once, at its end
    expected = (100 * 4 * 53.3 + 4_672 * 59.2 / 2) / 1000 + 630 * 2.0
    assert plan.hours(line, timing.Speed(1000.0, 2.0, "")) == pytest.approx(expected / 3600)
    line.state, line.steps = "trained", 0
    assert plan.hours(line, timing.Speed(1000.0, 2.0, "")) == pytest.approx(0.35)


@pytest.mark.parametrize("name", ["webnlg", "e2e"])
def test_the_tokens_are_those_of_the_data_and_the_tokenizer(name, real):
    """WebNLG's examples are half as long again as E2E's, and standin12 has fewer words."""
    folder = real({"webnlg": "WEBNLG_DATA_DIR", "e2e": "E2E_DATA_DIR"}[name])
    config = compose_config([f"data={name}", f"data.dir={folder}", "model=standin12"])
    pairs = read_pairs(data_file(config, "valid"), name)
    tokenizer = load_tokenizer(Path(config.model.path))
    exact = sum(len(example.ids) for example in encode(pairs, tokenizer)) / len(pairs)
    assert plan.mean_tokens(config, "valid") == pytest.approx(exact, rel=0.03)
    away = replace(config, model=replace(config.model, path="openai-community/gpt2"))
    by_gpt2 = {"webnlg": 79.0, "e2e": plan.E2E_TOKENS["valid"]}[name]
    assert plan.mean_tokens(away, "valid") == pytest.approx(by_gpt2, rel=0.15)  # by characters
    key = timing.key_of(config, GPT2Config())
    assert (key == timing.key_of(compose_config(NOWHERE), GPT2Config())) == (name == "e2e")


def test_a_machine_is_timed_with_random_weights():
    [row] = compose_rows(["table1/lora_s"], NOWHERE)
    shape = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50)
    key = timing.key_of(row.config, shape)
    speed = timing.measure({key: [row.config]}, {key: shape})[0][key]
    assert 0 < speed.tokens_per_s < float("inf") and 0 < speed.seconds_per_mr < 60
    assert speed.source == "timed now, random weights"
    assert timing.describe(key) == "gpt2 2 x 16, lora, batch 4, fp32, e2e"


def test_speeds_of_earlier_runs_on_this_hardware(tmp_path, real):
    names, data = [], f"data.dir={real('E2E_DATA_DIR')}"
    for seed, cpu in ((1, None), (2, "another machine"), (3, "together")):
        [row] = compose_rows(["table1/lora_s"], [data, f"runs_dir={tmp_path}", f"seed={seed}"])
        run = make_run(row.config)
        shape = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 50}
        with run.stage("train") as entry:
            entry["backbone"] = {"shape": shape, "model_type": "gpt2"}
        with run.stage("decode") as entry:
            entry |= {"n_predictions": 10, "weights_sha256": "0"}
        for folder, stage in ((run.directory, "train"), (run.decoding, "decode")):
            environment = files.read_json(folder / "environment.json")
            environment[stage]["seconds"] = 25.0
            if cpu == "together":  # its log has the tokens of all
                environment[stage]["together"] = 3
            elif cpu:
                environment[stage]["hardware"]["cpu"] = cpu
            files.write_json(folder / "environment.json", environment)
        for speed in (100, 300, 200) if cpu is None else (9, 9, 9):
            entry = {"step": 1, "tokens_per_s": speed}
            Log(run.directory / "train_log.jsonl").write(entry)
        leave_adapter(run.directory)
        names.append(run.directory.name)
    files.write_json(tmp_path / "damaged" / "environment.json", [])  # looked at, passed over
    key = timing.key_of(row.config, GPT2Config(**shape))
    assert timing.logged(tmp_path) == {key: timing.Speed(200, 2.5, f"log of {names[0]}")}


def test_several_values_make_several_runs():
    assert expand(["seed=1,2", "train.lr=1e-3", "adapter.rank=[1,2]"]) == [
        ["seed=1", "train.lr=1e-3", "adapter.rank=[1,2]"],
        ["seed=2", "train.lr=1e-3", "adapter.rank=[1,2]"],
    ]
    for sweep in ("experiment=choice(demo/none,demo/lora)", "experiment=demo/none,demo/lora"):
        assert expand([sweep]) == [["experiment=demo/none"], ["experiment=demo/lora"]]
    assert expand(["adapter=glob(lo*a,exclude=*_schema)", "seed=range(1,3)"]) == [
        ["adapter=lora", "seed=1"], ["adapter=lora", "seed=2"],
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"adapter=glob\(x\*\) matches nothing; name the values"):
        expand(["adapter=glob(x*)"])
    rows = compose_rows(["table1/lora_s", "table1/solo_s"], ["seed=1,2"])
    assert [row.config.label for row in rows] == [
        f"table1/{name}, lr 0.0002, seed {seed}" for seed in (1, 2) for name in ("lora_s", "solo_s")
    ]


def test_an_adapters_option_goes_to_the_rows_that_have_it():
    rows = compose_rows(["table1/lora_s", "table1/solo_s"], ["adapter.variant=devcode"])
    assert [row.overrides for row in rows] == [[], ["adapter.variant=devcode"]]
    assert rows[1].config.adapter.variant == "devcode"
    with pytest.raises(ValueError, match="lora_s: adapter.rnak is no option"):
        compose_rows(["table1/lora_s", "table1/solo_s"], ["adapter.rnak=1"])


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["hydra/launcher=joblib"], "needs the package hydra-joblib-launcher, which is not inst"),
        (["hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs=2 needs a launcher; add hydra/laun"),
    ],
)
def test_a_launcher_that_cannot_be(overrides, text, monkeypatch):
    monkeypatch.setattr("solo.cli.rows.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=text):
        split_launcher(overrides)
    assert split_launcher(["seed=2"]) == (["seed=2"], [])


def test_examples_are_those_of_the_data_set(tmp_path):
    """Of a folder of XML files too; what E2E is known for is not said of other data."""
    config = compose_config(["data=webnlg", f"data.dir={tmp_path}"])
    assert [plan.n_examples(config, split) for split in ("train", "test")] == [None, None]
    webnlg_file(data_file(config, "train") / "1.xml", entry("S", "one", "two"), entry("T", "three"))
    assert plan.n_examples(config, "train") == 3
    config = compose_config(["data=e2e_clean", f"data.dir={tmp_path}"])
    assert plan.n_examples(config, "train") is None


def test_rows_are_spread_over_processes_once(monkeypatch, tmp_path):
    """A run of two rows is started once, one that is done not at all; every row notes its own."""
    commands, claimed, states = [], [], {"a": "missing", "b": "done"}

    def row(name: str, run: str) -> SimpleNamespace:
        made = SimpleNamespace(
            name=run, directory=tmp_path / run, decoding=tmp_path / run / "x",
            config=SimpleNamespace(row=name, label=name), state=lambda: (states[run], 0),
            note_row=lambda row: claimed.append((run, row)),
        )  # fmt: skip
        return SimpleNamespace(name=name, overrides=["seed=1"], run=made)

    def start(command, env):
        commands.append(command[command.index("-m") + 1 :])
        states["a"] = "done"

    monkeypatch.setattr("solo.cli.launch.subprocess.run", start)
    rows = [row("t/one", "a"), row("t/two", "a"), row("t/done", "b")]
    assert launch(rows, ["hydra/launcher=joblib"]) == []
    assert commands == [["hydra/launcher=joblib", "experiment=t/one", "seed=1"]]
    assert claimed == [("a", "t/one"), ("a", "t/two"), ("b", "t/done")]


def test_the_plan_says_what_is_kept_and_which_hours_are_left():
    [line] = lines_of(["table1/lora_s", "table2/lora_s"])
    line.size, line.hours = 2e9, 1.5
    decode = replace(line, state="trained", steps=0, size=0, hours=0.25)
    text = plan.report([line, decode, replace(decode, state="done", hours=None)])
    first, other, second, *_ = text.splitlines()[1:]
    assert first.endswith("1.50   2,000.0 MB") and other.endswith("the same run")
    assert second.split()[-4:-2] == ["0", "0.25"] and text.count("the same run") == 3
    assert "disk: 2.00 GB kept; up to 6.00 GB more for the state" in text


def test_hours_are_timed_only_for_runs_that_are_left_and_of_no_earlier_speed(monkeypatch):
    lines = [lines_of([f"table1/{name}"])[0] for name in ("lora_s", "solo_s", "full_m")]
    lines[0].state, timed = "done", []
    known, speed = {lines[1].key: timing.Speed(1.0, 1.0, "log")}, timing.Speed(2.0, 2.0, "")
    monkeypatch.setattr(timing, "logged", lambda folder: known)

    def measure(keys, shapes):
        timed.append({*keys})
        return dict.fromkeys(keys, speed), []

    monkeypatch.setattr(timing, "measure", measure)
    assert plan.fill_hours(lines) == (known | {lines[2].key: speed}, [])
    assert timed == [{lines[2].key}] and [bool(line.hours) for line in lines] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "override", "why"),
    [
        ("solo", "adapter.start=12", "adapter.start=12 and a connection around 1 blocks leave no"),
        ("vblora", "adapter.length=7", "adapter.length is 7"),  # seen when the method is put in
    ],
)
def test_a_row_that_does_not_fit_leaves_the_others_their_plan(name, override, why, run_script):
    arguments = ["demo-family", "--rows", f"none,{name}", "model=standin12", *NOWHERE, override]
    done = run_script("scripts/plan.py", *arguments)
    assert done.code == 1 and f"error: family/{name}" in done.err and why in done.err
    assert "family/none" in done.out


@pytest.mark.parametrize("lengths", ["7,64", "64,7"])
def test_each_row_of_a_method_fits_or_does_not_by_itself(lengths, run_script, tmp_path):
    write_demo_data(tmp_path / "data", train_rows=8, valid_rows=2, test_mrs=2)
    done = run_script(
        "scripts/plan.py", "demo-family", "--rows", "vblora", "model=standin12",
        f"data.dir={tmp_path}/data", f"adapter.length={lengths}",
    )  # fmt: skip
    assert done.code == 1 and done.err.count("error: ") == 1 and "adapter.length is 7" in done.err
    assert "vblora, batch" in done.out  # the other one was timed


def test_a_schedule_too_long_for_the_timing_is_no_error_and_leaves_the_backbone(run_script):
    arguments = ["demo-family", "--rows", "imlor2c,lor2c", "model=standin12", *NOWHERE]
    done = run_script("scripts/plan.py", *arguments, "adapter.interval=50")
    assert done.code == 0 and "error" not in done.err
    assert " lor2c, batch" in done.out and "imlor2c, batch" not in done.out


def test_every_file_of_the_data_that_is_not_there_is_told():
    found = [text for text in plan.absent(lines_of(["table1/lora_s"])) if text.startswith("data ")]
    assert [Path(text.split(":")[0]).stem for text in found] == ["train", "valid", "test"]


def test_e2e_files_of_the_original_spelling_count_as_many():
    config = compose_config(["data=e2e_raw", *NOWHERE])
    assert [plan.n_examples(config, split) for split in ("train", "test")] == [42_061, 630]


def test_outputs_of_another_length_have_a_speed_of_their_own(monkeypatch):
    """Decoding is timed for each search, a backbone made once."""
    configs = [compose_config([f"decode.max_new_tokens={n}", *NOWHERE]) for n in (64, 9)]
    keys = {timing.key_of(config, GPT2Config()): [config] for config in configs}
    assert len(keys) == 2
    backbone = make_model()
    monkeypatch.setattr(timing, "random_backbone", lambda shape: backbone)
    monkeypatch.setattr(timing, "_tokens_per_s", lambda model, config: 1.0)
    monkeypatch.setattr(timing, "_seconds_per_mr", lambda model, c: c.decode.max_new_tokens)
    speeds, unfit = timing.measure(keys, dict.fromkeys(keys))
    assert not unfit
    assert all(speeds[key].seconds_per_mr == c.decode.max_new_tokens for key, [c] in keys.items())


def test_a_decoding_is_timed_per_mr_to_its_longest_output(clock, monkeypatch):
    """A token takes 2 s here, all of the search's contexts together, and the prompt 1 s."""
    search = compose_config(["decode.max_new_tokens=11", *NOWHERE]).decode
    model = torch.nn.Linear(1, 1)
    model.device, model.config = torch.device("cpu"), SimpleNamespace(vocab_size=9)

    def decode(model, prompts, search, ends):
        clock.seconds += 1 + 2 * search.max_new_tokens
        sizes.append(len(prompts))

    sizes = []
    monkeypatch.setattr(timing.rules, "beam_search", decode)
    found = timing._seconds_per_mr(model, SimpleNamespace(decode=search))
    assert found == pytest.approx((1 + 2 * 11) / sizes[0])


def test_the_first_step_does_not_count_for_the_speed_of_training(clock, monkeypatch):
    config = compose_config(["adapter=lora", "train.batch_size=2", *NOWHERE])
    shape = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50)
    model = timing.random_backbone(shape).cpu()

    def train(model, attached, examples, valid, recipe, folder, seed, label, tick):
        for step in range(1, recipe.max_steps + 1):
            clock.seconds += 100 if step == 1 else 0.5
            tick(step, recipe.max_steps, {})

    monkeypatch.setattr(timing, "train", train)
    assert timing._tokens_per_s(model, config) == pytest.approx(2 * 52 / 0.5)


def test_the_command_names_a_damaged_run_and_says_what_to_type_next(tmp_path, run_script):
    """With the rows and overrides that were given, for whichever table."""
    given = [*NOWHERE, f"runs_dir={tmp_path}", "seed=3"]
    [row] = compose_rows(["table1/lora_s"], given)
    directory = plan.planned_run(row).directory
    rows = ["--rows", "table1/lora_s,table1/solo_s", "--no-timing"]
    done = run_script("scripts/plan.py", *given, *rows)
    assert done.code == 0 and "2 rows, 2 runs: 2 missing" in done.out and "seed 3" in done.out
    command = "python scripts/reproduce.py all --rows table1/lora_s,table1/solo_s data.dir="
    assert f"next: {command}" in done.err
    directory.mkdir()
    (directory / STATE).write_bytes(b"cut short")
    done = run_script("scripts/plan.py", *given, *rows)
    assert done.code == 1 and "error: table1/lora_s, lr 0.0002, seed 3: " in done.err
    assert "1 rows, 1 runs: 1 missing" in done.out


def test_a_decoding_on_other_hardware_and_a_training_in_several_processes_say_nothing(
    tmp_path, monkeypatch
):
    here = record.environment()["hardware"]
    found = {
        "alone": ({}, here),
        "elsewhere": ({}, {"cpu": "another"}),
        "several": ({"processes": 2}, here),
    }
    for name, (more, decoded) in found.items():
        stages = {
            "train": {"hardware": here, "backbone": {"shape": {"n": len(name)}, "model_type": "x"}}
            | more
        }
        stages["decode"] = {"hardware": decoded, "seconds": 6.0, "n_predictions": 3}
        files.write_json(tmp_path / name / "environment.json", stages)
        Log(tmp_path / name / "train_log.jsonl").write({"step": 1, "tokens_per_s": 5})
    config = compose_config(NOWHERE)
    open_run = lambda folder: SimpleNamespace(directory=folder, decoding=folder, config=config)  # noqa: E731
    monkeypatch.setattr(timing, "open_run", open_run)
    speeds = {speed.source: speed.seconds_per_mr for speed in timing.logged(tmp_path).values()}
    assert speeds == {"log of alone": 2.0, "log of elsewhere": None}


def test_a_run_that_trains_nothing_has_no_speed_of_training(monkeypatch, run_script, tmp_path):
    speed = timing.Speed(float("inf"), 1.5, "")
    measured = lambda keys, shapes: (dict.fromkeys(keys, speed), [])  # noqa: E731
    monkeypatch.setattr(timing, "measure", measured)
    words = ["demo", "--rows", "none", *NOWHERE, f"runs_dir={tmp_path}"]
    done = run_script("scripts/plan.py", *words)
    assert ": nothing to train, decoding 1.50 s per MR ()" in done.out


def test_a_launcher_for_slurm_needs_slurm(monkeypatch):
    monkeypatch.setattr("solo.cli.rows.find_spec", lambda name: object())
    monkeypatch.setattr("solo.cli.rows.shutil.which", lambda name: None)
    with pytest.raises(ValueError, match="needs a Slurm cluster; there is no srun here"):
        split_launcher(["hydra/launcher=submitit_slurm"])
    assert split_launcher(["hydra/launcher=submitit_local"])[1] == ["hydra/launcher=submitit_local"]
