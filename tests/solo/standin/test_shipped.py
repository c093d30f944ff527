"""The backbone that the repository ships: small, made by the recipe, and what its card says."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from solo.backbones.loading import fingerprint, load_backbone, load_tokenizer
from solo.cli.compose import compose_values
from solo.files import ROOT
from solo.options import make
from solo.standin import measures
from solo.standin.recipe import Recipe

HOME = ROOT / "data/backbones/standin12"


@pytest.fixture(scope="module")
def summary() -> dict:
    return json.loads((HOME / "pretraining.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return load_backbone(HOME)


def test_the_weights_are_those_that_were_measured(summary, model):
    assert fingerprint(model) == summary["sha256"]
    assert (HOME / "model.safetensors").stat().st_size < 16 * 2**20
    assert model.config.stand_in.startswith("stand-in: 12 x 192 GPT-2, planted to copy")


def test_they_were_made_by_the_recipe_at_hand(summary):
    values = compose_values(["pretrain=standin12"], "pretrain_backbone")["pretrain"]
    assert make(Recipe, values, "pretrain").identity == summary["identity"]


@pytest.mark.parametrize("length", [16, 64])
def test_it_copies_as_the_summary_says(summary, model, length):
    share = measures.repeated_tokens(model, length)
    assert share == pytest.approx(summary["measures"][f"repeated_{length}"], abs=0.005)
    assert share > 0.95


def test_the_tokenizer_is_its_own(model):
    tokenizer = load_tokenizer(HOME)
    assert len(tokenizer) == model.config.vocab_size == 8192
    text = " The Café Vrelloma is near £ 20 ."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_the_card_says_what_the_summary_says(summary, model):
    card = re.sub("<!--.*?-->", "", (HOME / "README.md").read_text(encoding="utf-8"))
    weights = hashlib.sha256((HOME / "model.safetensors").read_bytes()).hexdigest()
    assert weights in card and f"{summary['tokens_seen']:,} tokens" in card
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters" in card
    size = (HOME / "model.safetensors").stat().st_size / 2**20
    assert f"{size:.1f} MiB in float16" in card
    rows = dict(re.findall(r"\| `(\w+)` \|[^|]*\| ([\d.]+) \|", card))
    assert {name: float(value) for name, value in rows.items()} == summary["measures"]
    for name in summary["corpus"]:
        assert "-nc-" not in name and f"`{name}`" in card
    assert not [path for path in Path(HOME).iterdir() if "state" in path.name]
    assert torch.isfinite(torch.tensor(list(summary["measures"].values()))).all()
