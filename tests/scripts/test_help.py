"""--help says what a script is for, and names every option that it has, with what it is now."""

import re

import pytest

from solo.cli.compose import compose_values


def options(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        inner = isinstance(value, dict) and key != "sha256"
        flat |= options(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


@pytest.mark.parametrize("chosen", [[], ["adapter=lora", "train=standin", "model=standin12"]])
def test_every_option_is_there_with_its_value(run_script, chosen):
    shown = run_script("scripts/train.py", *chosen, "--help")
    assert shown.code == 0 and shown.out.startswith("Train one run: scripts/train.py adapter=solo")
    lines = dict(re.findall(r"^  ([\w.]+):(.*)$", shown.out, re.MULTILINE))
    composed = options(compose_values(chosen))
    del composed["adapter.name"], composed["data.name"]
    assert composed.keys() <= lines.keys()
    for key in ("train.precision", "train.epochs", "model.path", "decode.beam", "adapter.rank"):
        assert lines[key].split("#")[0].strip() == str(composed[key])
    assert "no rate in the text" in lines["adapter.dropout"] or chosen
    assert "_schema" not in shown.out


def test_a_script_shows_its_own_groups_alone(run_script):
    shown = run_script("scripts/pretrain_backbone.py", "-h").out
    assert "pretrain.planted_lr_scale: 0.1" in shown and "adapter" not in shown.split("Groups")[1]
