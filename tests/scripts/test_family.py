"""The family: a row for every method, one recipe, exact counts, and the same rows in miniature."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from eval.tables.lines import load_reported
from solo.adapters import METHODS, make_config
from solo.backbones.shapes import gpt2_shapes
from solo.cli.command import CONFIGS
from solo.cli.counts import row_counts
from solo.cli.rows import compose_rows, own_overrides, reported_tables, row_settings, settings_of

ROWS = [row["row"] for row in reported_tables()["family"]["rows"]]
HUB = "openai-community/gpt2"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_row(name):
    file = CONFIGS / "experiment" / "family" / f"{name}.yaml"
    assert file.is_file(), f"method {name} has no row in the family table; add {file}"
    assert f"family/{name}" in ROWS, (
        f"{file} is in no table; add `- {{row: family/{name}, label: ...}}` to the rows of family "
        "in eval/tables/paper.yaml, and run `make params`"
    )
    assert settings_of(f"family/{name}")["adapter"]["name"] == name


def test_nothing_but_the_adapter_differs():
    """Same backbone, data, recipe and decoding as the paper's rows on GPT-2 S."""
    wanted = settings_of("table2/lora_s")
    for row in ROWS:
        settings = settings_of(row)
        for group in wanted.keys() - {"adapter"}:
            assert settings[group] == wanted[group], (row, group)


def test_rows_that_the_papers_tables_have_too_are_their_runs():
    tables = [value for value in reported_tables().values() if "rows" in value]
    settings = row_settings({row["row"] for table in tables for row in table["rows"]})
    same = {
        row: {other for other, theirs in settings.items() if theirs == of_row}
        for row, of_row in settings.items()
    }
    assert same["family/solo"] - {"family/solo"} == same["table1/solo_s"] - {"family/solo"}
    assert same["family/lora"] == {"family/lora", "table1/lora_s", "table2/lora_s"}
    assert same["family/full"] == {"family/full", "extra/full_s"}
    rest = [row for row in ROWS if len(same[row]) > 1]
    assert sorted(rest) == ["family/full", "family/lora", "family/solo"]


def n_attached(model, adapter: dict) -> int:
    method, config = make_config(adapter)
    attached = method.attach(model, config, 1)
    attached.detach()
    return attached.n_trained


@pytest.fixture(scope="module")
def models() -> list[GPT2LMHeadModel]:
    """GPT-2 S without data; and, for what needs data, two and one of its blocks."""
    small = {"n_embd": 768, "n_head": 12, "vocab_size": 9, "n_positions": 128}
    with torch.device("meta"):
        whole = GPT2LMHeadModel(gpt2_shapes()[HUB])
    return [whole, *(GPT2LMHeadModel(GPT2Config(n_layer=n, **small)) for n in (2, 1))]


@pytest.mark.parametrize("row", ROWS)
def test_the_count_is_that_of_a_really_attached_adapter(models, row):
    """peft moves the backbone, and a parameter that modules share becomes several on its way to a
    model without data: those methods attach to two blocks and to one, and each of the other ten
    adds what the second did."""
    whole, two, one = models
    adapter = settings_of(row)["adapter"]
    try:
        count = n_attached(whole, adapter) if adapter["name"] != "sharelor2c" else None
    except NotImplementedError:  # peft: no data to copy
        count = None
    if count is None:
        count = 11 * n_attached(two, adapter) - 10 * n_attached(one, adapter)
    assert row_counts(row_settings([row]))[row]["paper"] == count


@pytest.fixture(scope="module")
def in_miniature():
    return {row.name: row for row in compose_rows(ROWS, [], own_overrides(["demo-family"]))}


@pytest.mark.parametrize("row", ROWS)
def test_in_miniature_a_row_fits_the_demos_backbone_and_schedule(in_miniature, row):
    config = in_miniature[row].config
    assert config.model.path == "data/backbones/standin12"
    assert config.runs_dir == "results/demo/runs"
    shape = GPT2Config(n_layer=6, n_embd=128, n_head=4, n_positions=256, vocab_size=9)
    attached = config.method_class.attach(GPT2LMHeadModel(shape), config.adapter, 1)
    attached.start(config.train.max_steps)
    assert attached.n_trained == config.method_class.n_params(shape, config.adapter)


def test_what_the_user_says_counts_more_than_a_tables_own_overrides():
    own = own_overrides(["demo-family"])
    assert own_overrides(["family", "table1"]) == {}
    overrides = ["adapter.length=64", "train=default", "runs_dir=here"]
    [row] = compose_rows(["family/vblora"], overrides, own)
    assert row.config.adapter.length == 64 and row.config.runs_dir == "here"
    assert row.config.train.max_steps is None and row.config.data.dir == "data/demo"
    assert row.config.label == "family/vblora, lr 0.0002, seed 1"
    assert settings_of("family/vblora")["adapter"]["length"] == 256


def test_a_registered_method_without_a_line_gets_a_row_under_its_label(monkeypatch):
    """Its experiment file is there already; the tables' definition has no line for it."""
    reported = load_reported()
    for table in ("family", "demo-family"):
        reported[table]["rows"] = [r for r in reported[table]["rows"] if r["row"] != "family/ssl"]
    monkeypatch.setattr("solo.cli.rows.load_reported", lambda: reported)
    assert {"row": "family/ssl", "label": "SSL"} in reported_tables()["family"]["rows"]
