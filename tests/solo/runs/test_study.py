"""A study is done once, run by run at the rate that its sweep chose, in as many calls as needed."""

import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from solo import files
from solo.runs import carry, record, runner, stages
from solo.runs.run import make_run
from solo.runs.study import (
    Job,
    Study,
    at_its_rate,
    check_portions,
    due,
    packed,
    portions,
    read_study,
    work,
    write_study,
)
from tests.solo.runs.conftest import changed, quiet
from tests.solo.runs.test_runner import of, silent


@pytest.fixture
def study(config, tmp_path) -> Study:
    """Two rates for Solo, one of which diverges, and two for LoRA; full takes LoRA's."""
    home = tmp_path / "home"
    options = {"solo": {"rank": 4, "dropout": 0.0}, "lora": {"rank": 2, "dropout": 0.0}}

    def made(name: str, lr: float, folder: str = "runs"):
        base = changed(
            config, runs_dir=str(home / folder), train={"warmup_steps": 0, "save_every": 1}
        )
        return of(base, name, lr, **options.get(name, {})).config

    rates = {"solo": [1e-2, 1e30], "lora": [1e-5, 1e-2]}
    rate_of = {"solo": "solo", "lora": "lora", "full": "lora"}
    jobs = [
        Job(name, "b" if name == "full" else "a", rate_of[name], made(name, 1e-4))
        for name in rate_of
    ]
    sweeps = {name: [made(name, lr, "sweep") for lr in some] for name, some in rates.items()}
    return Study(home, jobs, sweeps, False)


def all_of(study: Study):
    return portions(study, None, None, together=True)


def reached(study: Study) -> dict:
    """{method: (learning rate, decoded?)} of the runs that are trained."""
    found = {}
    for path in sorted(Path(study.home, "runs").glob("*/environment.json")):
        identity = files.read_json(path.parent / "identity.json")["training"]
        decoded = [
            place
            for place in (path.parent / "decode").glob("*")
            if record.stage_record(place, "decode")
        ]
        found[identity["adapter"]["name"]] = (identity["train"]["lr"], bool(decoded))
    return found


def test_a_study_is_done_once(study, tmp_path, monkeypatch):
    said = []
    failures = work(study, all_of(study), silent, said.append, together=True)
    losses = []
    for config in study.sweeps["lora"]:  # LoRA's rates one by one, outside the study
        run = make_run(changed(config, runs_dir=str(tmp_path / "alone")))
        stages.train_run(run, quiet)
        losses.append(record.stage_record(run.directory, "train")["valid_loss"])
    best = [1e-5, 1e-2][losses.index(min(losses))]
    assert reached(study) == {"solo": (1e-2, True), "lora": (best, True), "full": (best, True)}
    chosen = files.read_json(study.home / "rates" / "lora.json")
    assert [lr for lr, _ in chosen["valid_losses"]] == [1e-5, 1e-2]
    assert [loss for _, loss in chosen["valid_losses"]] == pytest.approx(losses, rel=1e-4)
    solo = files.read_json(study.home / "rates" / "solo.json")
    assert solo["best"] == 1e-2 and solo["valid_losses"][1] == [1e30, None]
    assert failures == [] and any("Diverged" in line for line in said)  # some rates do
    swept = sorted(Path(study.home, "sweep").glob("*/environment.json"))
    together = [record.stage_record(path.parent, "train")["together"] for path in swept]
    assert together == [3, 3, 3]  # of both names, without what diverged

    def again(*args):
        raise AssertionError("done a second time")

    monkeypatch.setattr(stages, "_train", again)
    monkeypatch.setattr(stages, "decode_file", again)
    assert work(study, all_of(study), silent, together=True) == []
    (study.home / "rates" / "solo.json").unlink()
    assert work(study, all_of(study), silent, said.append, together=True) == []
    assert any("it would diverge again" in line for line in said)  # what diverged stays so
    assert files.read_json(study.home / "rates" / "solo.json") == solo


def test_a_rate_that_was_in_use_elsewhere_is_not_taken_for_diverged(study, monkeypatch):
    """The sweep is not at its end: no rate is chosen of the others, and the next call goes on."""
    real = stages.train_run

    def busy(run, *rest):
        if run.config.train.lr == 1e-2:
            raise RuntimeError(f"{run.directory} is in use by another process")
        return real(run, *rest)

    monkeypatch.setattr(stages, "train_run", busy)
    [lora] = portions(study, None, "lora")
    failures = work(study, [lora], silent)
    assert (
        "in use" in failures[0]
        and "the sweep of lora is not at its end" in failures[1]
        and reached(study) == {}
    )
    monkeypatch.setattr(stages, "train_run", real)
    assert work(study, [lora], silent) == []
    chosen = files.read_json(study.home / "rates" / "lora.json")
    assert [loss is None for _, loss in chosen["valid_losses"]] == [False, False]
    other = [changed(config, train={"weight_decay": 0.5}) for config in study.sweeps["lora"]]
    with pytest.raises(ValueError, match="lora.json has the losses of another sweep: backbone"):
        work(replace(study, sweeps={"lora": other}), [lora], silent)
    study.sweeps["lora"].append(changed(study.sweeps["lora"][0], train={"lr": 1e-1}))
    with pytest.raises(ValueError, match="the sweep of lora has no loss for 0.1 yet"):
        at_its_rate(study, study.jobs[1])


def test_what_lies_packed_is_done(study, monkeypatch):
    """Also of an earlier version, which named those it had trained with; at another rate it is
    another run."""
    dropping = [
        replace(job, config=changed(job.config, adapter={"dropout": 0.1})) for job in study.jobs[:2]
    ]
    study = replace(study, jobs=dropping, sweeps={})
    assert work(study, all_of(study), silent, together=True) == []
    runs, before = Path(dropping[0].config.runs_dir), reached(study)
    with monkeypatch.context() as patched:
        patched.setattr(stages, "_train", None)  # nor is it trained again, alone
        assert work(study, all_of(study), silent) == [] and reached(study) == before
    assert len([path for path in runs.iterdir() if path.is_dir()]) == 2
    for directory in sorted(path for path in runs.iterdir() if path.name[0] != "."):
        [decoding] = (directory / "decode").iterdir()
        parts = [files.read_json(place / "identity.json") for place in (directory, decoding)]
        parts[0]["training"]["shared_draws"] = ["0a", "0b"]
        files.write_json(runs / f"{directory.name}.json", {"identity.json": parts[0] | parts[1]})
        shutil.rmtree(directory)
    faster = changed(dropping[0].config, train={"lr": 1e-3})
    study.jobs.append(replace(dropping[0], name="faster", config=faster))
    said: list[str] = []
    assert work(study, all_of(study), silent, said.append) == []
    assert reached(study) == {"solo": (1e-3, True)}
    assert [line.split(",")[0] for line in said if ": done, " in line] == ["solo", "lora"]


def test_a_wider_grid_trains_the_rates_that_are_new(study, monkeypatch):
    part = portions(study, "a", "lora")
    work(study, part, silent)
    first = files.read_json(study.home / "rates" / "lora.json")
    more = changed(study.sweeps["lora"][0], train={"lr": 3e-2})
    wider = replace(study, sweeps={"lora": [more, *study.sweeps["lora"]]})
    trained = []
    train_run = stages.train_run
    monkeypatch.setattr(
        stages, "train_run", lambda run, *rest: (trained.append(run), train_run(run, *rest))
    )
    work(wider, part, silent)
    then = files.read_json(study.home / "rates" / "lora.json")
    assert then["valid_losses"][:2] == first["valid_losses"]
    assert [lr for lr, _ in then["valid_losses"]] == [1e-5, 1e-2, 3e-2]
    assert then["best"] == min(then["valid_losses"], key=lambda pair: pair[1])[0]
    swept = [run.config.train.lr for run in trained if "sweep" in run.config.runs_dir]
    assert swept == [3e-2]


def test_it_goes_on_when_the_time_was_up(study):
    """Every call makes two steps of progress; the end is that of one call without a limit."""

    class TimeUp(BaseException):
        pass

    study.sweeps["solo"].pop()
    elsewhere = {
        "jobs": [replace(job, config=moved(job.config)) for job in study.jobs],
        "sweeps": {name: list(map(moved, some)) for name, some in study.sweeps.items()},
    }
    whole = replace(study, home=Path(f"{study.home}_whole"), **elsewhere)
    work(whole, all_of(whole), silent, together=True)

    @contextmanager
    def two_steps(label, unit="step"):
        count = 0

        def report(done, total, info):
            nonlocal count
            count += 1
            if count == 3:
                raise TimeUp

        yield report

    calls = 0
    while True:
        calls += 1
        try:
            work(study, all_of(study), two_steps, together=True)
            break
        except TimeUp:
            assert calls < 40
    assert calls > 3 and reached(study) == reached(whole)
    for path in Path(study.home, "runs").glob("*/adapter.safetensors"):
        other = Path(whole.home, "runs", path.parent.name, path.name)
        assert path.read_bytes() == other.read_bytes(), path


def moved(config):
    return replace(config, runs_dir=config.runs_dir.replace("/home/", "/home_whole/"))


def test_a_study_is_what_was_written(study, tmp_path):
    write_study(tmp_path / "study.json", study)
    assert read_study(tmp_path / "study.json") == study


def test_the_rates_beside_the_best(study):
    """By size, whatever the order in which they were tried; none beside the highest and lowest."""
    path, study = study.home / "rates" / "lora.json", replace(study, sweeps={})
    tried = [(3e-3, 1.2), (1e-3, 1.3), (1e-2, None), (3e-4, 1.5)]
    files.write_json(path, {"best": 3e-3, "valid_losses": tried})
    [job] = (job for job in study.jobs if job.name == "lora")
    beside = [at_its_rate(study, replace(job, neighbour=side)) for side in (-1, 0)]
    assert [config.train.lr for config in beside] == [1e-3, 3e-3]
    said = []
    for best, side in ((3e-3, 1), (3e-4, -1), (3e-3, 1)):  # diverged, beyond the edge
        files.write_json(path, {"best": best, "valid_losses": tried})
        assert at_its_rate(study, replace(job, neighbour=side)) is None
        assert due(study, [replace(job, neighbour=side)], {}, said.append) == ([], [])
    ended = [(lr, loss) for lr, loss in tried if loss]
    files.write_json(path, {"best": 3e-4, "valid_losses": ended})
    assert at_its_rate(study, replace(job, neighbour=-1)) is None  # and not the highest
    assert said[0] == "lora: no rate above its best one got to its end; left out"


def test_portions_and_bad_choices(study):
    names = [[job.name for job in jobs] for jobs in portions(study, None, "lora,full")]
    assert names == [["lora"], ["full"]]
    assert [len(jobs) for jobs in portions(study, "a", None)] == [1, 1]
    assert [len(jobs) for jobs in portions(study, "a", None, together=True)] == [2]
    with pytest.raises(ValueError, match="no run is of groups b and of names lora; see the stu"):
        portions(study, "b", "lora")
    with pytest.raises(ValueError, match="the study has no group 'c'; it has a, b"):
        portions(study, "a,c", None)


def test_bundles_are_small_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(carry, "BUNDLE", 40_960)  # of tar, blocks of 10,240
    monkeypatch.setattr(carry, "MOST", 20)
    home, wanted = tmp_path / "home", {}
    for i in range(60):
        sizes = {f"runs/lora-{i}/predictions.tsv": 600, f"runs/lora-{i}/adapter.safetensors": 900}
        sizes |= {f"runs/full-{i}/adapter.safetensors": 10, f"sweep/s{i}/adapter.safetensors": 10}
        sizes |= {f"neighbours/solo-{i}/adapter.safetensors": 10}
        for name, size in sizes.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(bytes([i]) * size)
            wanted[str(home / name).lstrip("/")] = bytes([i]) * size
    [*_, told] = carry.bundle(home, tmp_path / "out")
    assert told == "120 runs' weights left out"  # of full fine-tuning, and of sweeps
    contents = {}
    for path in sorted((tmp_path / "out").iterdir()):
        assert path.stat().st_size <= 40_960
        with tarfile.open(path) as tar:
            contents |= {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    kept = {k: v for k, v in wanted.items() if "/runs/lora-" in k or "/neighbours/" in k}
    assert contents == kept


@pytest.mark.parametrize("when", ["before its size is asked", "before it is read"])
def test_a_bundle_is_made_while_a_decoding_ends(tmp_path, monkeypatch, when):
    """What that has found so far is removed, and no fault of the study that goes on."""
    for name in ("found.jsonl", "predictions.tsv"):
        (tmp_path / name).write_text(name)
    owner, verb = (Path, "stat") if when == "before its size is asked" else (tarfile.TarFile, "add")
    whole = getattr(owner, verb)

    def later(first, *args, **options):
        named = first if owner is Path else args[0]
        if named == tmp_path / "found.jsonl":
            named.unlink(missing_ok=True)
        return whole(first, *args, **options)

    monkeypatch.setattr(Path, "is_file", lambda path: os.path.isfile(path))
    monkeypatch.setattr(owner, verb, later)
    [line, _] = carry.bundle(tmp_path, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / f"{tmp_path.name}_0.tar") as tar:
        assert [Path(name).name for name in tar.getnames()] == ["predictions.tsv"]


def test_data_that_was_packed_anew_is_unpacked_anew(tmp_path):
    source, packed = tmp_path / "train.txt", tmp_path / "carried" / "train.txt.xz"
    for text in ("old", "new"):
        source.write_text(text)
        carry.pack({packed: source})
        carry.unpack(packed.parent)
        assert packed.with_suffix("").read_text() == text


def test_a_study_runs_without_hydra_and_datasets():
    missing = ("hydra", "omegaconf", "datasets", "evaluate", "nltk", "pycocoevalcap", "matplotlib")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import scripts.study"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=files.ROOT)
    assert runner.DIVERGED == "diverged.json"


def test_what_lies_packed_beside_the_chosen_rates_is_found_too(study):
    [job, *_] = study.jobs
    job = replace(job, config=replace(job.config, runs_dir=str(study.home / "neighbours")))
    path, run = study.home / "neighbours" / "x.json", make_run(job.config)
    files.write_json(path, {"identity.json": {"training": run.identity}})
    assert list(packed(replace(study, jobs=[job])).values()) == [path]


def test_a_sweep_that_no_memory_holds_is_refused_before_the_first_run(study):
    study.sweeps["lora"][1] = changed(study.sweeps["lora"][1], train={"batch_size": 10**9})
    with pytest.raises(ValueError, match="train.batch_size is 1000000000; training takes at least"):
        check_portions(study, all_of(study))
