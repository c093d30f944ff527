"""The contract of every registered method; a new one is covered by its line in METHODS alone."""

import copy
import re
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2LMHeadModel

from solo import checkpoint
from solo.adapters import METHODS, make_config
from solo.backbone import fingerprint
from solo.data import Example, collate, pack, pad
from solo.fast import frozen_products
from solo.loss import summed_loss

# Options worth a case of their own; a method that is not named runs with its defaults.
CASES = {
    "adalora": [{"init_rank": 4, "target_rank": 3, "interval": 1, "targets": ["c_attn", "c_fc"]}],
    "dora": [{"rank": 3, "targets": ["c_attn", "c_fc", "mlp.c_proj"]}],
    "fourierft": [
        {"frequencies": 20, "targets": ["c_attn", "mlp.c_proj"]},
        {"frequencies": 20, "zero_start": True},
    ],
    "gralora": [{"rank": 4, "targets": ["c_attn", "mlp.c_proj"]}],
    "hira": [{"rank": 3, "targets": ["c_attn", "mlp.c_proj"]}],
    "randlora": [{"rank": 5, "targets": ["attn.c_proj", "c_fc", "mlp.c_proj"]}],
    "vblora": [{"rank": 2, "vectors": 6, "length": 8, "targets": ["c_fc", "mlp.c_proj"]}],
    "prompt": [{"length": 4}],
    "vera": [{"rank": 5, "targets": ["attn.c_proj", "c_fc", "mlp.c_proj"]}],
    # Schedules that fit into the 4 steps of train_a_little.
    "imlor2c": [{"rank": 3, "interval": 1, "merges": 2, "injections": 2, "top_k": 1}],
    "injectlor2c": [{"rank": 3, "interval": 1, "injections": 3, "lora_rank": 2, "dropout": 0.3}],
    "mergelor2c": [{}, {"rank": 3, "interval": 1, "merges": 3, "max_span": 3, "dropout": 0.3}],
    "sharelor2c": [{"rank": 3}, {"rank": 3, "group_size": 2, "dropout": 0.3}],
    "lora": [
        {"rank": 3, "dropout": 0.5},
        {"rank": 3, "targets": ["k", "attn.c_proj", "c_fc", "mlp.c_proj"], "middle": "full"},
        {"rank": 3, "targets": ["c_attn"], "middle": "diagonal", "constraint": "o"},
        {"rank": 3, "constraint": "d"},
        {"rank": 3, "targets": ["c_fc"], "constraint": "n"},
    ],
    "solo": [
        {"rank": 5, "sparsity": 0.4},
        {"rank": 5, "sparsity": 0.4, "variant": "devcode"},
        {"rank": 5, "variant": "devcode"},
        {"rank": 40, "trainable_matrices": False, "sparsity": 0.3},
        {"rank": 4, "homotopy": False, "bias": True, "bias_init": "uniform"},
        {"rank": 4, "span": 2, "lambda_init": 0.5},
        {"rank": 4, "start": 1, "stride": 1, "reach": 3, "lambda_init": 0.5},
    ],
}
ALL = [{"name": name} | options for name in METHODS for options in CASES.get(name, [{}])]
every_method = pytest.mark.parametrize(
    "options", ALL, ids=lambda o: "-".join(str(value) for value in o.values())
)


def attach(model: GPT2LMHeadModel, options: dict, seed: int = 3):
    method, config = make_config(options)
    return method.attach(model, config, seed)


def logits(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(ids).logits


def train_a_little(model, attached, ids, steps: int = 4) -> None:
    """Large steps, so that everything that is trained moves visibly."""
    if not attached.parameters:
        return
    attached.start(steps)
    optimizer = torch.optim.AdamW(attached.parameters.values(), lr=0.05, weight_decay=0.1)
    model.train()
    for step in range(1, steps + 1):
        out = model(ids).logits
        loss = F.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        if attached.penalty is not None:
            loss = loss + attached.penalty()
        loss.backward()
        optimizer.step()
        attached.after_step(step)
        optimizer.zero_grad()
    model.eval()


@every_method
def test_output_at_step_0(model, ids, options):
    before = logits(model, ids)
    attached = attach(model, options)
    start, tolerance = logits(model, ids), attached.start_tolerance
    assert tolerance <= 1e-4  # rounding, not a change
    if tolerance:
        assert attached.identity_at_start
        torch.testing.assert_close(start, before, rtol=tolerance, atol=tolerance)
    else:
        assert torch.equal(start, before) == attached.identity_at_start


@every_method
def test_only_its_own_parameters_move(model, ids, options):
    attached = attach(model, options)
    named = dict(model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    declared = {id(parameter) for parameter in attached.parameters.values()}
    assert {id(p) for p in named.values() if p.requires_grad} == declared
    train_a_little(model, attached, ids)
    for name, parameter in named.items():
        moved = not torch.equal(parameter, before[name])
        assert moved == (id(parameter) in declared), name


@every_method
def test_count_is_the_closed_form(model, options):
    method, config = make_config(options)
    attached = method.attach(model, config, 3)
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert attached.n_params == counted == method.n_params(model.config, config)


@every_method
def test_save_and_load_give_the_same_logits_to_the_bit(model, ids, options, tmp_path):
    fresh = copy.deepcopy(model)
    sha256 = fingerprint(model)
    method, config = make_config(options)
    attached = method.attach(model, config, 3)
    train_a_little(model, attached, ids)
    checkpoint.save_adapter(tmp_path, options["name"], config, attached, 3, sha256)
    checkpoint.load_adapter(tmp_path, fresh, fingerprint(fresh))
    assert torch.equal(logits(fresh, ids), logits(model, ids))
    saved = (tmp_path / checkpoint.WEIGHTS).stat().st_size
    assert saved < 4 * attached.n_params + 20_000  # what is trained and a header, no more


@every_method
def test_examples_in_one_row_count_as_alone(model, ids, options):
    """What `position_wise` promises: every layout of a batch has the loss of the plain one."""
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    if not attached.position_wise:
        return
    examples = [
        Example(row[:length], 2) for row, length in zip(ids.tolist(), (9, 5, 7), strict=True)
    ]
    with torch.no_grad():
        plain = summed_loss(model, collate(examples), 1, 0.1)
        padded = summed_loss(model, pad([examples], 8), 1, 0.1)
        with frozen_products(model, torch.float32):
            packed = summed_loss(model, pack([examples]), 1, 0.1)
    torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-4)


@every_method
def test_cached_decoding_equals_uncached(model, ids, options):
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    whole = logits(model, ids)
    cache, steps = None, []
    with torch.no_grad():
        for i in range(ids.shape[1]):
            out = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)


@every_method
def test_detaching_restores_the_backbone(model, ids, options):
    before, names = logits(model, ids), [name for name, _ in model.named_parameters()]
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    attached.detach()
    assert torch.equal(logits(model, ids), before)
    assert [name for name, _ in model.named_parameters()] == names
    attach(model, options)  # and it can be attached again


@every_method
def test_merged_model_gives_the_same_logits(model, ids, options):
    """To 1e-4 (relative and absolute), in the bare backbone; or an error that says why not."""
    names = {name: p.detach().clone() for name, p in model.named_parameters()}
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    adapted = logits(model, ids)
    try:
        attached.merge()
    except ValueError as error:
        assert re.match("this method cannot be merged into the backbone's weights: .", str(error))
        assert torch.equal(logits(model, ids), adapted)  # and nothing has happened
        return
    torch.testing.assert_close(logits(model, ids), adapted, rtol=1e-4, atol=1e-4)
    merged = dict(model.named_parameters())
    assert list(merged) == list(names) and not any(p.requires_grad for p in merged.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    changed = any(not torch.equal(merged[name], before) for name, before in names.items())
    assert changed == bool(attached.parameters)


@every_method
def test_same_seed_same_start(model, options):
    other = copy.deepcopy(model)
    torch.manual_seed(98)
    first = attach(model, options)
    torch.manual_seed(99)  # the global generator plays no part
    second = attach(other, options)
    for name, parameter in first.parameters.items():
        assert torch.equal(parameter, second.parameters[name]), name
    assert first.fixed.keys() == second.fixed.keys()
    assert all(torch.equal(first.fixed[name], second.fixed[name]) for name in first.fixed)


@pytest.mark.parametrize("name", METHODS)
def test_unknown_option_names_the_known_ones(name):
    with pytest.raises(ValueError, match=f"adapter {name} has no option 'rnak'; its options: "):
        make_config({"name": name, "rnak": 4})


WITH_TARGETS = [n for n, m in METHODS.items() if "targets" in {f.name for f in fields(m.Config)}]


@pytest.mark.parametrize("name", WITH_TARGETS)
@pytest.mark.parametrize("targets", [["k_proj"], ["c_attn", "c_atn"], []])
def test_targets_that_the_backbone_lacks(name, targets):
    wrong = targets[-1] if targets else "empty|\\[\\]"
    with pytest.raises(ValueError, match=f"adapter.targets .*({wrong}).*; .*: .*(c_attn|ln_1)"):
        make_config({"name": name, "targets": targets})


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
    "prefix": [({"length": 0}, "length is 0; it must be at least 1")],
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


@pytest.mark.parametrize(
    ("name", "options", "text"), [(n, *bad) for n, cases in BAD_SIZES.items() for bad in cases]
)
def test_sizes_that_do_not_fit(model, ids, name, options, text):
    before = logits(model, ids)
    with pytest.raises(ValueError, match=f"adapter.{text}"):
        attach(model, {"name": name} | options)
    assert torch.equal(logits(model, ids), before) and not hasattr(model, "adapter")


def test_unknown_method_names_the_known_ones():
    with pytest.raises(
        ValueError, match=f"unknown adapter 'lroa'; known: {', '.join(sorted(METHODS))}"
    ):
        make_config({"name": "lroa"})


@pytest.mark.parametrize("name", METHODS)
def test_two_adapters_do_not_fit_into_one_model(model, name):
    attach(model, {"name": "lora"})
    options = CASES.get(name, [{}])[0]
    with pytest.raises(ValueError, match="has an adapter already; detach it first"):
        attach(model, {"name": name} | options)
