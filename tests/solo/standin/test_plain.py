"""Pretraining: the schedule against hand-made tables, going on after a kill, refused recipes."""

import itertools
import json
import lzma

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from solo.backbones import loading as backbone
from solo.options import make
from solo.standin import corpus
from solo.standin import plain as pretrain
from solo.training.state import STATE

RECIPE = {
    "steps": 12, "max_seconds": None, "batch_size": 2, "context": 8, "lr": 1e-2, "warmup_steps": 3,
    "schedule": "wsd", "decay": 0.5, "precision": "fp32", "compile": False, "log_every": 1,
    "save_seconds": 1000, "valid_windows": 3, "seed": 1,
    "shape": {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 16},
    "output_dir": "", "stand_in": "test", "tokenizer": None, "vocab_size": 300, "corpus_dir": "",
    "train_files": [], "valid_files": [],
}  # fmt: skip
STREAM = np.random.default_rng(0).integers(0, 250, 400).astype(np.uint16)


@pytest.mark.parametrize(
    ("options", "points"),
    [  # (step, seconds): rate, in units of lr, worked out by hand
        (
            {"schedule": "wsd", "decay": 0.2, "warmup_steps": 4, "steps": None, "max_seconds": 100},
            {(0, 0): 0.25, (1, 1): 0.5, (3, 2): 1, (4, 3): 1, (50, 79): 1, (60, 85): 0.75,
             (61, 90): 0.5, (62, 99): 0.05, (63, 100): 0, (64, 107): 0},
        ),  # the same by steps
        (
            {"schedule": "wsd", "decay": 0.2, "warmup_steps": 2, "steps": 10, "max_seconds": None},
            {(0, 9): 0.5, (1, 9): 1, (8, 9e9): 1, (9, 0): 0.5, (10, 0): 0},
        ),  # whichever is nearer to its end
        (
            {"schedule": "wsd", "decay": 0.5, "warmup_steps": 0, "steps": 10, "max_seconds": 100},
            {(0, 0): 1, (5, 75): 0.5, (8, 10): 0.4, (0, 100): 0},
        ),
        (
            {"schedule": "cosine", "warmup_steps": 2, "steps": 8, "max_seconds": None, "decay": 1},
            {(0, 0): 0.5, (4, 0): 0.55, (8, 0): 0.1},
        ),
    ],
)  # fmt: skip
def test_rates(options, points):
    recipe = make(pretrain.Recipe, RECIPE | options | {"lr": 4e-3})
    for (step, seconds), share in points.items():
        rate = recipe.learning_rate(step, recipe.done_share(step, seconds))
        assert rate == pytest.approx(4e-3 * share, abs=1e-12), (step, seconds)


def run(tokenizer, directory, kill_after=None, clock=None, **options):
    """(fingerprint of the weights, result, log); clock: one second a call."""
    recipe, calls = make(pretrain.Recipe, RECIPE | options), itertools.count()
    model = pretrain.new_model(recipe.shape, tokenizer, 1, "test")

    def report(done, total, info):
        if kill_after is not None and done >= kill_after:
            raise KeyboardInterrupt

    try:
        result = pretrain.pretrain(
            model, STREAM, STREAM, recipe, directory, report, clock or (lambda: next(calls))
        )
    except KeyboardInterrupt:
        return None
    log = [json.loads(x) for x in (directory / pretrain.LOG).read_text().splitlines()]
    return backbone.fingerprint(model), result, log


def without_speed(log):
    return [{k: v for k, v in e.items() if k != "tokens_per_s"} for e in log if "loss" in e]


def test_twice_killed_equals_never_killed(tokenizer, tmp_path):
    for name, limit in (("steps", {}), ("time", {"steps": None, "max_seconds": 12})):
        limit["save_seconds"] = 4
        whole = run(tokenizer, tmp_path / name / "whole", **limit)
        for kill in (6, 10):
            assert run(tokenizer, tmp_path / name / "b", kill_after=kill, **limit) is None
        again = run(tokenizer, tmp_path / name / "b", **limit)
        assert again[0] == whole[0] and again[1] == whole[1]
        assert without_speed(again[2]) == without_speed(whole[2])


def test_time_ends_it_and_decays_the_rate(tokenizer, tmp_path):
    _, result, log = run(tokenizer, tmp_path, steps=None, max_seconds=20, warmup_steps=1)
    assert result["steps"] == 20 and result["tokens_seen"] == 20 * 2 * 8
    rates = [entry["lr"] for entry in log if "lr" in entry]
    assert rates == pytest.approx([1e-2] * 10 + [1e-2 * (20 - s) / 10 for s in range(10, 20)])
    assert log[-1]["valid_ppl"] == pytest.approx(np.exp(log[-1]["valid_loss"]))


def test_it_learns_and_its_loss_is_that_of_transformers(tokenizer, tmp_path):
    text = np.tile(np.arange(20, dtype=np.uint16), 30)
    recipe = make(pretrain.Recipe, RECIPE | {"steps": 60, "precision": "bf16", "decay": 0.2})
    model = pretrain.new_model(recipe.shape, tokenizer, 1, "test")
    result = pretrain.pretrain(model, text, text, recipe, tmp_path)
    log = [json.loads(x) for x in (tmp_path / pretrain.LOG).read_text().splitlines()]
    assert log[0]["loss"] > 5 and result["valid_loss"] < 1
    rows = corpus.spread_windows(text, 3, 8)
    with torch.no_grad():
        logits = model(rows[:, :-1]).logits
    wanted = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).item()
    assert result["valid_loss"] == pytest.approx(wanted, rel=1e-5)


def test_a_state_of_another_recipe_is_refused(tokenizer, tmp_path):
    run(tokenizer, tmp_path, kill_after=6, save_seconds=2)
    with pytest.raises(ValueError, match="another recipe or corpus; delete it, or set"):
        run(tokenizer, tmp_path, save_seconds=2, lr=2e-2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": None}, "steps and pretrain.max_seconds are both null"),
        ({"max_seconds": 0}, "max_seconds is 0; it must be above 0"),
        ({"schedule": "step"}, "schedule is 'step'; known: cosine, wsd"),
        ({"decay": 0}, "decay is 0; the last share"),
        ({"precision": "fp16"}, "precision is 'fp16'; known: fp32, bf16"),
        ({"context": 17}, "context is 17; the shape has 16 positions"),
    ],
)
def test_a_bad_recipe_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        make(pretrain.Recipe, RECIPE | option)


def test_a_loss_that_is_not_finite_stops_it(tokenizer, tmp_path):
    with pytest.raises(FloatingPointError, match="lower pretrain.lr"):
        run(tokenizer, tmp_path, lr=1e30, warmup_steps=0)


def test_a_backbone_is_made_once_and_says_what_it_is(tokenizer, tmp_path):
    for name in ("train", "valid"):
        with lzma.open(tmp_path / f"{name}.txt.xz", "wt") as file:
            file.write("name : The Mill | Type : pub\n<|endoftext|>\n" * 40)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    recipe = RECIPE | {
        "output_dir": str(tmp_path / "out"), "stand_in": "stand-in: test", "vocab_size": None,
        "tokenizer": str(tmp_path / "tokenizer"), "corpus_dir": str(tmp_path),
        "train_files": ["train.txt.xz"], "valid_files": ["valid.txt.xz"],
    }  # fmt: skip
    recipe, other = (make(pretrain.Recipe, recipe | lr) for lr in ({}, {"lr": 1.0}))
    reports = []
    summary = pretrain.make_backbone(recipe, tmp_path / "cache", lambda *a: reports.append(a))
    saved = backbone.load_backbone(tmp_path / "out")
    assert backbone.fingerprint(saved) == summary["sha256"]
    assert saved.config.stand_in == "stand-in: test" and not (tmp_path / "out" / STATE).exists()
    assert reports[-1][:2] == (12, 12)
    assert pretrain.make_backbone(recipe, tmp_path / "cache", None)["sha256"] == summary["sha256"]
    with pytest.raises(ValueError, match="holds a backbone of another recipe"):
        pretrain.make_backbone(other, tmp_path / "cache", None)


def test_a_token_stream_is_every_documents_tokens(tokenizer, tmp_path, monkeypatch):
    texts = [f"name : Mill {i} | Type : pub\nIt is near Old Bridge {i}.\n" for i in range(25)]
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join([*texts, ""]))
    monkeypatch.setattr(corpus, "CHARACTERS_AT_ONCE", 100)  # many batches
    stream = corpus.token_stream([tmp_path / "a.txt"], tokenizer, tmp_path)
    end = tokenizer.eos_token_id
    wanted = []
    for text in texts:
        wanted += [*tokenizer.encode(text), end]
    assert stream.tolist() == wanted
