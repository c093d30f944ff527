"""Directories carry words and a hash; the hash alone says whose they are."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from solo.adapters import METHODS
from solo.cli.compose import compose_config
from solo.runs import naming, stages
from solo.runs.config import from_values, to_values
from solo.runs.identity import short_name
from solo.runs.run import make_run
from tests.solo.runs.conftest import changed, never, quiet

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "results/standin12/runs"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["adapter.rank=64", "adapter.sparsity=0.6", "model=standin12"], "solo-r64-s0.6-standin12"),
        (["adapter=full", "train.epochs=1", "seed=2"], "full-gpt2-seed2-epochs1"),
        (["adapter=lora", "adapter.targets=[q,k]", "train.lr=1e-3"], "lora-r4-q_k-gpt2-lr0.001"),
        (["adapter.variant=devcode", "adapter.homotopy=false", "data=webnlg"],
         "solo-r128-s0.4-devcode-no_homotopy-gpt2-webnlg"),
        (["data=own", "data.train_path='/a/Füße, 3.csv'", "model.path=/b/c-d/"],
         "solo-r128-s0.4-c_d-F_e_3"),
        # Options of which one's usual value does not go with the other
        (["adapter=adalora", "adapter.init_rank=12", "adapter.target_rank=8"],
         "adalora-init_rank12-target_rank8-gpt2"),
        (["adapter=gralora", "adapter.rank=24", "adapter.blocks=3"], "gralora-r24-blocks3-gpt2"),
        (["adapter.sparsity=0", "adapter.lambda_init=2", "adapter.lambda_bounded=false"],
         "solo-r128-s0-lambda_init2-no_lambda_bounded-gpt2"),
    ],
)  # fmt: skip
def test_the_words(overrides, words):
    assert naming.words(compose_config(overrides)) == words


@pytest.mark.parametrize("method", METHODS)
def test_words_are_a_name_that_every_file_system_takes(method, config):
    """Whatever was changed: they stay short, and only letters, digits and -._ are in them."""
    values = to_values(config) | {"adapter": {"name": method}, "seed": 2**32 - 1}
    values["model"] = {"path": "/tmp/" + "long-ü" * 40}
    values["train"] |= {"lr": 1.23456e-7, "eps": 1e-9, "weight_decay": 0.123, "betas": [0.5, 0.6]}
    name = naming.words(from_values(values))
    assert len(name) <= naming.LONGEST and re.fullmatch(r"[\w.-]+", name, re.ASCII)
    assert name.startswith(method) and naming.hash_of(Path(f"{name}-0123abcd")) == "0123abcd"


def test_words_that_find_no_room_are_left_out_with_a_sign(config):
    options = {"encoding": "scale", "vector_init": "zeros", "weight_init": "kaiming_normal",
               "mask": "permutation", "start": 3, "stride": 5, "reach": 4}  # fmt: skip
    name = naming.words(changed(config, adapter=options, seed=7))
    assert name.startswith("solo-r4-s0.4-") and name.endswith("-etc")
    assert "-backbone" in name and len(name) <= naming.LONGEST


@pytest.mark.parametrize("other", ["solo-backbone-", "mine-", "", "a-deadbeef-"])
def test_a_run_is_found_by_its_hash_whatever_stands_before_it(config, other):
    """By the name of an earlier version, a name of one's own, and the hash alone."""
    run = make_run(config)
    assert run.directory.name.startswith("solo-r4-s0.4-backbone-")
    stages.train_run(run, quiet)
    renamed = run.directory.rename(run.directory.with_name(other + run.name))
    again = make_run(config)
    assert again.directory == renamed and again.state()[0] == "trained"
    stages.train_run(again, never)
    stages.decode_run(again, quiet)
    assert [path for path in renamed.parent.iterdir() if path.name[0] != "."] == [renamed]


def test_two_directories_of_one_hash_are_refused(config):
    run = make_run(config)
    stages.train_run(run, quiet)
    shutil.copytree(run.directory, run.directory.with_name(f"copy-{run.name}"))
    with pytest.raises(ValueError, match=f"copy-{run.name} and .* are one run .* move all but one"):
        make_run(config)


def test_a_run_under_other_words_excludes_it_and_is_not_made_again(config, tmp_path):
    """Of one backbone in two folders: another name, the same run."""
    shutil.copytree(config.model.path, tmp_path / "elsewhere")
    first, second = (
        make_run(config),
        make_run(changed(config, model={"path": f"{tmp_path}/elsewhere"})),
    )
    assert first.name == second.name and first.directory != second.directory
    with first.lock(), pytest.raises(RuntimeError, match="in use by another process; wait"):
        code = "import sys; from pathlib import Path; from solo.runs import record\n"
        code += "with record.lock(Path(sys.argv[1]), sys.argv[2]): pass"
        done = subprocess.run(
            [sys.executable, "-c", code, second.directory, second.name],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        raise RuntimeError(done.stderr)
    stages.train_run(first, quiet)
    with pytest.raises(RuntimeError, match=f"{first.directory} is this run, made meanwhile; start"):
        stages.train_run(second, never)
    assert not second.directory.exists()
    assert make_run(second.config).directory == first.directory


START = """
import json, sys
from solo.runs import stages
from solo.runs.config import from_values
from solo.runs.run import make_run
run = make_run(from_values(json.loads(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
try:
    stages.train_run(run, lambda *progress: None)
except RuntimeError as error:
    print(error)
"""


def test_two_starts_at_once_make_one_directory(config, tmp_path):
    """This process and another."""
    shutil.copytree(config.model.path, tmp_path / "elsewhere")
    here, values = make_run(config), to_values(config)
    values["model"]["path"] = f"{tmp_path}/elsewhere"
    other = subprocess.Popen([sys.executable, "-c", START, json.dumps(values)], cwd=ROOT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("go\n")
    other.stdin.flush()
    said = ""
    try:
        stages.train_run(here, quiet)
    except RuntimeError as error:
        said = str(error)
    said = [said, other.communicate()[0]]
    directories = [path for path in Path(config.runs_dir).iterdir() if path.name[0] != "."]
    assert len(directories) == 1 and make_run(config).state()[0] == "trained"
    assert sum("in use by another" in text or "made meanwhile" in text for text in said) == 1


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_the_kept_runs_are_found_still(path, tmp_path):
    """A packed run's name ends with the hash of what it holds; so is its directory found."""
    training = json.loads(path.read_text())["identity.json"]["training"]
    assert naming.hash_of(path.with_suffix("")) == short_name(training)
    (tmp_path / path.stem).mkdir()
    assert naming.find(tmp_path, short_name(training)) == tmp_path / path.stem


def test_a_directory_that_is_hidden_or_ends_alike_is_not_the_runs(tmp_path):
    for name in ("a-1234abcd", ".a-1234abcd", "copy1234abcd"):
        (tmp_path / name).mkdir()
    assert naming.find(tmp_path, "1234abcd") == tmp_path / "a-1234abcd"


def test_a_training_set_that_nobody_published_is_called_after_its_folder():
    config = compose_config(["data.dir=some/mine", "data.sha256.train=null"])
    assert naming.data_name(config) == "mine"
