"""What no memory holds is refused in one line, from the backbone's config alone."""

import json
import re
from pathlib import Path

import pytest

from solo.adapters import make_config
from solo.runs import memory, stages
from solo.runs.run import make_run
from tests.solo.runs.conftest import changed


@pytest.mark.parametrize(
    ("change", "line"),
    [  # by hand, of 6 blocks of width 16: 2 dr (1 - s) + T (r + d + 1) with d = 16, s = 0.4, T = 2
        (
            {"adapter": {"rank": 10**9}},
            "adapter.rank is 1000000000; training takes at least 315.9 GiB for its "
            "21,200,000,034 parameters, and this machine has 8.0 GiB; choose a smaller one",
        ),
        (
            {"train": {"batch_size": 10**9}},
            "train.batch_size is 1000000000; training takes at least 1,430.5 GiB for its "
            "activations, and this machine has 8.0 GiB; choose a smaller one",
        ),
    ],
)
def test_a_rank_and_a_batch_that_no_memory_holds(config, monkeypatch, change, line):
    monkeypatch.setattr(memory, "memory", lambda: 8 * 2**30)
    monkeypatch.setattr(stages, "load_model", None)  # nothing is loaded
    with pytest.raises(ValueError) as caught:
        make_run(changed(config, **change))
    assert str(caught.value) == line
    make_run(changed(config, **change), planned=True)  # for another machine


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (  # 4 bytes for each of 10^9 x 292 candidates, and 8 x 6 x 16 for keys and values
            {"beam": 10**9},
            "decode.beam is 1000000000; decoding takes at least 1,803.0 GiB for its candidates",
        ),
        (
            {"max_new_tokens": 399},
            "decode.max_new_tokens is 399; the backbone has 400 positions, so at most 398 can be",
        ),
        ({"beam": 100_000, "batch_size": 1000}, "decode.batch_size is 1000; decoding takes at"),
    ],
)
def test_a_search_that_no_memory_or_backbone_holds(config, monkeypatch, change, line):
    """Before the training, whose result only such a decoding would use."""
    monkeypatch.setattr(memory, "memory", lambda: 2**30)
    with pytest.raises(ValueError) as caught:
        make_run(changed(config, decode=change))
    assert str(caught.value).startswith(line)
    make_run(changed(config, decode={"max_new_tokens": 398, "batch_size": 10**9}))


def test_a_prompt_that_leaves_no_room_is_refused_before_the_training(config, monkeypatch):
    monkeypatch.setattr(stages, "train", None)  # nothing is trained
    run = make_run(changed(config, decode={"max_new_tokens": 397}))
    mr = stages.data.read_prompts(run.config.data.test_path)[0][0]
    line = f"{run.config.data.test_path}: the MR '{mr[:57]}"
    told = r".* has \d+ tokens; with max_new_tokens=397 the model's 400 posit"
    with pytest.raises(ValueError, match=re.escape(line) + told):
        stages.train_run(run, lambda *progress: None)


@pytest.mark.parametrize(
    ("size", "value", "line"),
    [
        ("n_layer", 10**12, "num_hidden_layers is 1000000000000; loading takes at least"),
        ("n_layer", 0, "num_hidden_layers is 0; it must be at least 1"),
        ("n_embd", -1, "hidden_size is -1; it must be at least 1"),
        ("n_layer", "x", "is no configuration of gpt2"),
    ],
)
def test_a_backbone_that_no_memory_holds(config, size, value, line):
    file = Path(config.model.path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {size: value}))
    with pytest.raises(ValueError, match=f"{file}.*{line}"):
        memory.check_memory(config)


def test_what_fits_by_a_byte(config, monkeypatch):
    count = 10**6  # more than the backbone and the beam take
    monkeypatch.setattr(config.method_class, "n_params", lambda shape, options: count)
    monkeypatch.setattr(memory, "memory", lambda: 16 * count)
    smaller = changed(config, train={"batch_size": 1})
    memory.check_memory(smaller)
    monkeypatch.setattr(memory, "memory", lambda: 16 * count - 1)
    with pytest.raises(ValueError, match="adapter.rank is 4; training takes"):
        memory.check_memory(smaller)


def test_a_seed_is_no_size_and_nothing_is_known_of_a_missing_backbone(config, monkeypatch):
    _, adapter = make_config({"name": "solo", "rank": 10**9, "mask_seed": 2**40})
    with pytest.raises(ValueError, match="adapter.rank is 1000000000"):
        memory.check_memory(changed(config, adapter=adapter))
    memory.check_memory(changed(config, adapter=adapter, model={"path": "nowhere/to/be/found"}))
