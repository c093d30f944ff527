"""What copies and what does not, with a model that copies by construction."""

import math
from types import SimpleNamespace

import pytest
import torch

from scripts.checks import copying

VOCAB = 50


def copier(ids: torch.Tensor) -> SimpleNamespace:
    """Logits of a perfect copier: what followed the same token before; uniform where it is new."""
    logits = torch.zeros(*ids.shape, VOCAB)
    for row, tokens in enumerate(ids.tolist()):
        for place, token in enumerate(tokens):
            if token in tokens[:place]:
                logits[row, place, tokens[tokens.index(token) + 1]] = 100.0
    return SimpleNamespace(logits=logits)


def test_repeat_losses_of_a_copier_and_of_one_that_knows_nothing():
    ids = torch.stack([torch.randperm(VOCAB)[:8] for _ in range(4)])
    first, second, right = copying.repeat_losses(copier, ids)
    assert first == pytest.approx(math.log(VOCAB), rel=1e-5) and second < 1e-4 and right == 1

    def blank(tokens: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.zeros(*tokens.shape, VOCAB))

    first, second, right = copying.repeat_losses(blank, ids)
    assert [first, second] == pytest.approx([math.log(VOCAB)] * 2, rel=1e-5) and right < 0.2


def test_values_are_copied_to_the_letter_or_not():
    mrs = ["name : Blue Spice | Type : pub | near : The Mill", "name : Aromi | Type : pub"]
    outputs = list(zip(mrs, ["Blue Spice is near the mill .", "A pub ."], strict=True))
    assert copying.copied(outputs, "name") == (1, 2)
    assert copying.copied(outputs, "near") == (0, 1)


def test_a_table_does_not_replace_what_it_is_made_of(tmp_path, run_script):
    for name, words in (("runs/predictions.tsv", "works with"), ("mine.md", "there already")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
        command = ["scripts/checks/copying.py", tmp_path / "runs", "--out", path]
        done = run_script(*command)
        assert done.code == 1 and words in done.err and path.read_text() == "precious"
