"""--help says what a script is for, and names every option that it has, with what it is now."""

import re

import pytest
import yaml

from solo.cli.compose import compose_values
from solo.cli.help import options_in


def options(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        inner = isinstance(value, dict) and key != "sha256"
        flat |= options(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


@pytest.mark.parametrize(
    "chosen",
    [
        [],
        ["adapter=lora", "train=standin", "model=standin12"],
        ["experiment=table1/lora_m", "train.lr=1e-3", "train.betas=[0.8,0.9]", "data=webnlg"],
    ],
)
def test_every_option_is_there_with_its_value(run_script, chosen):
    shown = run_script("scripts/train.py", *chosen, "--help")
    assert shown.code == 0 and shown.out.startswith("Train one run: scripts/train.py adapter=solo")
    lines = dict(re.findall(r"^  ([\w.]+):(.*)$", shown.out, re.MULTILINE))
    composed = options(compose_values(chosen))
    del composed["adapter.name"], composed["data.name"]
    assert composed.keys() <= lines.keys()
    said = {key: line.partition(" #")[0] for key, line in lines.items()}
    values = {key: yaml.safe_load(line) for key, line in said.items() if "${" not in line}
    assert len(values) > 30
    for key in composed.keys() & values.keys() - {"data.sha256"}:
        assert values[key] == composed[key], key
    assert "no rate in the text" in lines["adapter.dropout"] or chosen
    assert "_schema" not in shown.out and "note:" not in shown.out


def test_what_cannot_be_is_told_below_the_page(run_script):
    shown = run_script("scripts/train.py", "adapter=lora,solo", "adapter.rnk=8", "--help")
    assert shown.code == 0 and "  adapter.rank: 128 #" in shown.out
    assert shown.out.splitlines()[-1].endswith(
        "is no option; `python scripts/run.py --help` lists them"
    )


@pytest.mark.parametrize("script", ["decode", "evaluate", "generate", "export"])
def test_what_takes_a_run_shows_no_option_of_its_training(run_script, script):
    shown = run_script(f"scripts/{script}.py", "--help").out
    keys = re.findall(r"^  ([\w.]+):", shown, re.MULTILINE)
    assert {"run", "decode.beam", "data.test_path"} <= {*keys} and "scripts/train.py" in shown
    assert not [key for key in keys if key.startswith(("adapter", "train", "seed", "experiment"))]


def test_a_script_shows_its_own_groups_alone(run_script):
    shown = run_script("scripts/pretrain_backbone.py", "-h").out
    assert "pretrain.planted_lr_scale: 0.1" in shown and "adapter" not in shown.split("Groups")[1]


def test_of_several_values_the_first_is_shown(run_script):
    shown = run_script("scripts/train.py", "seed=7,8", "adapter=lora,solo", "--help").out
    assert "  seed: 7" in shown and " lora*" in shown and " solo*" not in shown


def test_an_option_that_a_file_sets_has_its_own_comment(tmp_path, monkeypatch):
    """Not that of the file that it rests on."""
    monkeypatch.setattr("solo.cli.help.CONFIGS", tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train/base.yaml").write_text("lr: 1 # base\nbatch_size: 2 # base\n")
    (tmp_path / "train/mine.yaml").write_text("defaults: [base]\nname: x\nlr: 3 # mine\n")
    assert options_in("train", "mine") == {"lr": " 3 # mine", "batch_size": " 2 # base"}


def test_a_value_that_is_set_keeps_the_comment_of_its_option(run_script):
    comments = []
    for given in ([], ["adapter.sparsity=0.25"]):
        page = run_script("scripts/train.py", "adapter=solo", *given, "--help").out
        [line] = [line for line in page.splitlines() if line.startswith("  adapter.sparsity:")]
        assert not given or line.startswith("  adapter.sparsity: 0.25 # ")
        comments.append(line.partition(" # ")[2])
    assert comments[0] == comments[1] != ""
