"""Bad options: every method refuses them in one line that names the option, and changes nothing."""

import copy
from dataclasses import fields
from types import NoneType
from typing import get_args, get_type_hints

import peft
import pytest
import torch

from solo.adapters import METHODS, get_method, make_config
from solo.peft import SoloConfig
from tests.conftest import make_model
from tests.solo.adapters.test_adapters import CASES, attach, hooks_of, logits, parts_of

every_method = pytest.mark.parametrize("name", METHODS)


# The sizes of each method: too small, and not dividing what they should.
BAD_SIZES = {
    "adalora": [({"init_rank": 2}, "target_rank is 4 and adapter.init_rank 2")],
    "dora": [({"rank": 0}, "rank is 0; it must be at least 1")],
    "fourierft": [
        ({"frequencies": 0}, "frequencies is 0; it must be at least 1"),
        ({"frequencies": 769}, "frequencies is 769; c_attn has only 768 entries"),
    ],
    "gralora": [
        ({"rank": 4, "blocks": 3}, r"blocks is 3; it must divide adapter.rank \(4\)"),
        ({"rank": 6, "blocks": 3}, r"blocks is 3; it must divide both sides of c_attn, \(16, 48\)"),
    ],
    "hira": [({"rank": 0}, "rank is 0; it must be at least 1")],
    "houlsby": [({"size": 0}, "size is 0; it must be at least 1")],
    "imlor2c": [
        ({"injections": 7}, "injections is 7; the model has only 6 blocks"),
        ({"merges": 3, "injections": 3}, "merges is 3; into modules of at most 6 blocks 3 blocks"),
    ],
    "injectlor2c": [
        ({"lora_rank": 0}, "lora_rank is 0; it must be at least 1"),
        ({"injections": 0}, "injections is 0; it must be at least 1"),
    ],
    "lor2c": [({"rank": 0}, "rank is 0; it must be at least 1")],
    "lora": [({"rank": 0}, "rank is 0; it must be at least 1")],
    "mergelor2c": [
        ({"merges": 6}, "merges is 6; into modules of at most 6 blocks 6 blocks can be merged 5"),
        ({"merges": 4, "max_span": 2}, "merges is 4; into modules of at most 2 .* merged 3 times"),
        ({"max_span": 1}, "max_span is 1; it must be at least 2"),
        ({"interval": 0}, "interval is 0; it must be at least 1"),
        ({"rank": 3, "top_k": 3}, r"top_k is 3; it must be below adapter.rank \(3\), or 0"),
    ],
    "pissa": [({"rank": 17}, "rank is 17; c_attn has only 16 singular values")],
    "ia3": [
        ({"feedforward": ["c_fc"]}, "feedforward has 'c_fc', which is none of adapter.targets")
    ],
    "prefix": [
        ({"length": 0}, "length is 0; it must be at least 1"),
        ({"length": 400}, "length is 400; the model has 400 positions in all"),
    ],
    "prompt": [({"length": 400}, "length is 400; the model has 400 positions in all")],
    "randlora": [({"rank": 0}, "rank is 0; it must be at least 1")],
    "sharelor2c": [
        ({"group_size": 4}, "group_size is 4; it must divide the number of blocks, 6"),
        ({"group_size": 0}, "group_size is 0; it must divide"),
    ],
    "solo": [({"rank": 2, "span": 6}, "start=7 .* leave no block to adapt")],
    "vblora": [
        ({"length": 5}, r"length is 5; it must divide both sides of c_attn, \(16, 48\)"),
        ({"length": 4, "vectors": 3, "top": 4}, r"top is 4; it must be from 1 to .* \(3\)"),
    ],
    "vera": [({"rank": 0}, "rank is 0; it must be at least 1")],
}


OPTIONS = [(name, field.name) for name, m in METHODS.items() for field in fields(m.Config)]
ANY_NUMBER = {("vera", "d_initial"), ("fourierft", "scaling"), ("solo", "mask_seed")}


def kinds(name: str, option: str) -> tuple[type, ...]:
    """What an option may be; (tuple,) for a list of names."""
    hint = get_type_hints(METHODS[name].Config)[option]
    if str(hint).startswith("tuple"):
        return (tuple,)
    return get_args(hint) or (hint,)


NUMBERS = [pair for pair in OPTIONS if {int, float} & set(kinds(*pair))]
SIZES = [pair for pair in NUMBERS if int in kinds(*pair)]
BESIDE = {  # what an option of one needs beside it; or, of its own, where two is the smallest
    ("gralora", "rank"): {"blocks": 1},
    ("vblora", "rank"): {"length": 1},
    ("vblora", "vectors"): {"length": 1, "top": 1},
    ("vblora", "top"): {"length": 1},
    ("adalora", "init_rank"): {"init_rank": 2, "target_rank": 1},
    ("mergelor2c", "max_span"): {"max_span": 2},
    ("imlor2c", "max_span"): {"max_span": 2},
}


@pytest.mark.parametrize(("name", "option"), SIZES)
def test_the_smallest_sizes_fit(model, ids, name, option):
    method, config = make_config({"name": name, option: 1} | BESIDE.get((name, option), {}))
    attached = method.attach(model, config, 3)
    assert attached.n_trained == method.n_params(model.config, config) > 0
    assert logits(model, ids).isfinite().all()


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_zero_is_refused_or_counted(model, ids, name, option):
    """Of nothing there is nothing to train; what a method takes for "all" or "none" it computes."""
    before = parts_of(model), requires_grad(model)
    try:
        method, config = make_config({"name": name, option: 0} | BESIDE.get((name, option), {}))
        attached = method.attach(model, config, 3)
    except ValueError as error:
        assert str(error).startswith("adapter.")
        assert (parts_of(model), requires_grad(model)) == before and not hooks_of(model)
        return
    assert attached.n_trained == method.n_params(model.config, config) > 0
    assert logits(model, ids).isfinite().all()


def requires_grad(model) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in model.named_parameters()}


@every_method
def test_unknown_option_names_the_known_ones(name):
    with pytest.raises(ValueError, match=f"adapter {name} has no option 'rnak'; its options: "):
        make_config({"name": name, "rnak": 4})


def test_unknown_method_names_the_known_ones():
    with pytest.raises(
        ValueError, match=f"unknown adapter 'lroa'; known: {', '.join(sorted(METHODS))}"
    ):
        make_config({"name": "lroa"})


ACCEPTED = {  # the types of values that an option of each kind takes
    bool: {bool},
    int: {int},
    float: {int, float},
    str: {str},
    tuple: {list, str},
    NoneType: {NoneType},
}


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option_of_another_kind(name, option):
    accepted = set().union(*(ACCEPTED[kind] for kind in kinds(name, option)))
    values = {type(value): value for value in ({"a": 1}, [1], True, "a", 1.5, 1, None)}
    assert accepted < set(values)
    for value in (values[kind] for kind in set(values) - accepted):
        with pytest.raises(ValueError, match=f"adapter.{option} is .*; it must be "):
            make_config({"name": name, option: value})


@pytest.mark.parametrize(("name", "option"), sorted(set(NUMBERS) - ANY_NUMBER))
def test_a_number_below_its_range(model, name, option):
    before = parts_of(model), requires_grad(model)
    with pytest.raises(ValueError, match=rf"adapter\.{option} (is )?-1"):
        attach(model, {"name": name, option: -1})
    assert (parts_of(model), requires_grad(model)) == before and not hooks_of(model)


def test_what_any_number_fits():
    assert set(NUMBERS) > ANY_NUMBER
    for name, option in ANY_NUMBER:
        make_config({"name": name, option: -1})


WITH_TARGETS = [name for name, option in OPTIONS if option == "targets"]


@pytest.mark.parametrize("name", WITH_TARGETS)
@pytest.mark.parametrize("targets", [["k_prj"], ["c_attn", "c_atn"], []])
def test_targets_that_the_backbone_lacks(name, targets):
    wrong = targets[-1] if targets else "empty|\\[\\]"
    with pytest.raises(ValueError, match=f"adapter.targets .*({wrong}).*; .*: .*(c_attn|ln_1)"):
        make_config({"name": name, "targets": targets})


@pytest.mark.parametrize("name", sorted({*WITH_TARGETS} - {"lora", "ln_tuning"}))
def test_parts_of_a_projection_are_targets_of_lora_alone(name):
    with pytest.raises(ValueError, match="adapter.targets has 'q'; "):
        make_config({"name": name, "targets": ["q"]})
    assert make_config({"name": "lora", "targets": ["q"]})[1].targets == ("q",)


@pytest.mark.parametrize(
    ("name", "options", "text"), [(n, *bad) for n, cases in BAD_SIZES.items() for bad in cases]
)
def test_sizes_that_do_not_fit(model, ids, name, options, text):
    before = logits(model, ids), parts_of(model), requires_grad(model)
    with pytest.raises(ValueError, match=f"adapter.{text}"):
        attach(model, {"name": name} | options)
    assert torch.equal(logits(model, ids), before[0]) and not hooks_of(model)
    assert (parts_of(model), requires_grad(model)) == before[1:]


@every_method
def test_a_schedule_longer_than_the_run(model, name):
    """A method that acts at intervals says that a run of one step is too short; others start."""
    attached = attach(model, {"name": name} | CASES.get(name, [{}])[0])
    before = {key: p.detach().clone() for key, p in attached.parameters.items()}
    if (name, "interval") in OPTIONS:
        with pytest.raises(ValueError, match=r"steps.*\b1 steps|steps and the run has 1;"):
            attached.start(1)
    else:
        attached.start(1)
    assert all(torch.equal(p, before[key]) for key, p in attached.parameters.items())


@every_method
def test_two_adapters_do_not_fit_into_one_model(model, name):
    """Whichever comes first: full fine-tuning, too, has no module but trains the model."""
    options = {"name": name} | CASES.get(name, [{}])[0]
    first = attach(model, {"name": "lora"})
    with pytest.raises(ValueError, match="has an adapter already; detach it first"):
        attach(model, options)
    first.detach()
    first = attach(model, options)
    if first.parameters:  # the bare backbone has nothing to share
        with pytest.raises(ValueError, match="has an adapter already; detach it first"):
            attach(model, {"name": "lora"})
    first.detach()
    attach(model, {"name": "lora"}).detach()


def test_a_model_that_a_method_cannot_work_in_is_refused(model):
    """With an adapter of peft's, ours under peft's, in half precision, or copied."""
    with pytest.raises(ValueError, match="is no configuration of Lora; make_config gives one"):
        get_method("lora").attach(model, {"rank": 8}, 1)
    with pytest.raises(ValueError, match="computes in torch.bfloat16, what is trained in torch.f"):
        attach(copy.deepcopy(model).bfloat16(), {"name": "lora"})
    other = copy.deepcopy(model)
    wrapped = peft.get_peft_model(other, peft.LoraConfig(target_modules=["c_attn"]))
    ours = peft.get_peft_model(copy.deepcopy(model), SoloConfig(r=2)).base_model.model
    for adapted in (other, wrapped, ours):
        with pytest.raises(ValueError, match="an adapter of peft's already; take a bare one"):
            attach(adapted, {"name": "lora"})
    attached = attach(model, {"name": "lora"})
    with pytest.raises(ValueError, match="cannot be copied: the copy would go on with this one's"):
        copy.deepcopy(model)
    with pytest.raises(ValueError, match="has a method attached by solo.adapters already; detach"):
        peft.get_peft_model(model, SoloConfig(r=2))
    attached.detach()
    copy.deepcopy(model)


@pytest.mark.parametrize("name", ["solo", "lora", "prefix", "prompt", "pissa", "full"])
def test_what_is_no_backbone_is_refused_and_left_alone(model, name):
    method, config = make_config({"name": name})
    for other in (model.transformer, torch.nn.Linear(2, 2), None):
        with pytest.raises(ValueError, match="is no causal language model of transformers; load"):
            method.attach(other, config, 1)
    for seed in (None, "1", 2**70):
        with pytest.raises(ValueError, match="the seed is .*; it must be a whole number"):
            method.attach(model, config, seed)
    assert all(p.requires_grad for p in model.parameters())
    method.attach(model, config, 1)


def test_an_attachment_that_fails_leaves_the_model_as_it_was(model, ids):
    """PiSSA takes the weights apart, which NaN ends when peft has put in its first layers."""
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 0] = float("nan")
    before = [p.clone() for p in model.parameters()]
    names = [name for name, _ in model.named_modules()]
    method, config = make_config({"name": "pissa"})
    with pytest.raises(RuntimeError, match="svd"):
        method.attach(model, config, 1)
    assert [name for name, _ in model.named_modules()] == names
    assert all(p.requires_grad for p in model.parameters())
    for parameter, value in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter.nan_to_num(), value.nan_to_num())
    method, config = make_config({"name": "lora"})
    method.attach(model, config, 1)


def test_a_model_that_was_cast_comes_back_in_its_new_type():
    model = make_model()
    attached = attach(model, {"name": "bitfit"})
    model.bfloat16()
    attached.detach()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_lambda_of_the_development_code_has_no_bound():
    make_config({"name": "solo", "variant": "devcode", "lambda_init": 2.0})
    for options in ({}, {"variant": "devcode", "lambda_bounded": True}):
        with pytest.raises(ValueError, match=r"lambda_init is 2.0; lambda lives in \[0, 1\]"):
            make_config({"name": "solo", "lambda_init": 2.0} | options)


def test_events_of_a_method_that_only_notes_them_are_kept():
    """As a resumed run or a loaded adapter hands them over."""
    attached = attach(make_model(), {"name": "lora"})
    attached.replay([{"step": 1, "kind": "note"}, {"step": 3}])
    assert attached.events == [{"step": 1, "kind": "note"}, {"step": 3}]
