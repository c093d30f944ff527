"""The contract of every registered method; a new one is covered by its line in METHODS alone."""

import copy
import json
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2LMHeadModel

from solo.adapters import METHODS, make_config
from solo.adapters.base import Method
from solo.adapters.shared.stack import stack
from solo.backbones.loading import fingerprint
from solo.backbones.products import frozen_products
from solo.datasets.data import Example
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search
from solo.run_files import STATE, WEIGHTS
from solo.runs import checkpoint
from solo.training.batches import collate, pack, pad
from solo.training.loss import summed_loss
from solo.training.recipe import TrainConfig, after_step, make_optimizer, set_step
from solo.training.state import resume, save
from tests.conftest import make_model
from tests.solo.decoding.reference_beam import reference_beam_search

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


def hooks_of(model) -> list:
    return [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


def parts_of(model) -> dict[str, set]:
    """What each module has, by name: torch's own dictionaries, buffers, attributes."""
    return {name: {*vars(m), *m._buffers, *m._modules} for name, m in model.named_modules()}


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
        loss = loss + attached.penalty()
        loss.backward()
        optimizer.step()
        attached.after_step(step)
        optimizer.zero_grad()
    model.eval()


def training_loss(model, attached, ids, key: int) -> torch.Tensor:
    """The mean loss of a batch whose dropout is drawn by `key`."""
    batch = collate([[Example(row, 2, key + n) for n, row in enumerate(ids.tolist())]])
    return summed_loss(model, batch, 1, 0.0, [attached]).sum() / ids.numel() + attached.penalty()


def leave_gradients(model, attached, ids) -> None:
    """As a loop does that ends without zero_grad."""
    if attached.parameters:
        model(ids).logits.sum().backward()
        assert any(p.grad is not None for p in attached.parameters.values())


@every_method
def test_output_at_step_0(model, ids, options, record_property):
    before = logits(model, ids)
    attached = attach(model, options)
    start, tolerance = logits(model, ids), attached.start_tolerance
    assert tolerance <= 1e-4  # rounding, not a change
    if tolerance:
        assert attached.identity_at_start
        torch.testing.assert_close(start, before, rtol=tolerance, atol=tolerance)
    else:
        assert torch.equal(start, before) == attached.identity_at_start
    if not attached.identity_at_start:
        record_property("not promised", "starts elsewhere")


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
    assert attached.n_trained == counted == method.n_params(model.config, config)


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
    saved = (tmp_path / WEIGHTS).stat().st_size
    assert saved < 4 * attached.n_trained + 20_000  # what is trained and a header, no more


@every_method
def test_examples_in_one_row_count_as_alone(model, ids, options, record_property):
    """What `position_wise` promises: every layout of a batch has the loss of the plain one, in
    training, too, where dropout is drawn by keys."""
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    if not attached.position_wise:
        record_property("not promised", "trains on padded batches")
        return
    examples = [
        Example(row[:length], 2, key=length)
        for row, length in zip(ids.tolist(), (9, 5, 7), strict=True)
    ]
    for training in (False, True):
        model.train(training)
        with torch.no_grad():
            plain = summed_loss(model, collate([examples]), 1, 0.1, [attached])
            padded = summed_loss(model, pad([examples], 8), 1, 0.1, [attached])
            with frozen_products(model, torch.float32):
                packed = summed_loss(model, pack([examples]), 1, 0.1, [attached])
        torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-4)


@every_method
def test_what_is_dropped_is_a_function_of_the_keys(model, ids, options):
    """No draw of another kind: a run ends alike however it is computed, and after a kill. Each
    place has a module of its own, or two places would drop the same features."""
    method, config = make_config(options)
    if hasattr(config, "dropout"):
        method, config = make_config(options | {"dropout": 0.4})
    attached = method.attach(model, config, 3)
    train_a_little(model, attached, ids)
    model.train()
    calls, random = Counter(), torch.get_rng_state()
    handles = [
        module.register_forward_hook(lambda module, *args: calls.update([module]))
        for module in model.modules()
        if isinstance(module, nn.Dropout) and module.p > 0
    ]
    found = [training_loss(model, attached, ids, key).item() for key in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), random)
    assert len(calls) == len(handles) and all(number == 3 for number in calls.values())
    assert found[0] == found[1] and (found[0] != found[2]) == hasattr(config, "dropout")


@every_method
def test_two_threads_are_each_alone(model, ids, options):
    """A server's requests: both have run the second block before either goes on."""
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    inputs = [ids, ids.flip(1)]
    alone = [logits(model, one) for one in inputs]
    meet = threading.Barrier(len(inputs), timeout=20)
    handle = model.transformer.h[1].register_forward_hook(lambda *args: (meet.wait(), None)[1])
    with ThreadPoolExecutor(len(inputs)) as pool:
        together = list(pool.map(partial(logits, model), inputs))
    handle.remove()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


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
def test_beam_search_is_the_slow_one(model, ids, options):
    """Our search, with its cache of a tree and left padding, against one without either."""
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    prompts = [ids[0, :7].tolist(), ids[1, :3].tolist()]
    settings = {"beam": 3, "length_penalty": 0.8, "no_repeat_ngram": 3, "max_new_tokens": 8}
    found = beam_search(model, prompts, BeamConfig(**settings), (0,))
    assert found == [
        reference_beam_search(model, prompt, *settings.values(), (0,)) for prompt in prompts
    ]


@every_method
def test_detaching_restores_the_backbone(model, ids, options):
    model.transformer.wpe.weight.requires_grad_(False)
    bias = model.transformer.ln_f.bias
    bias.grad = torch.ones_like(bias)  # of a training before: it takes no part in this one
    before = logits(model, ids)
    names = {name: p.requires_grad for name, p in model.named_parameters()}
    config, parts = model.config.to_dict(), parts_of(model)
    attached = attach(model, options)
    assert not model.training
    assert all(p.grad is None for p in attached.parameters.values())
    train_a_little(model, attached, ids)
    leave_gradients(model, attached, ids)
    attached.detach()
    assert torch.equal(logits(model, ids), before)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == names
    assert all(p.grad is None for p in model.parameters() if p is not bias)
    assert torch.equal(bias.grad, torch.ones_like(bias))
    assert model.config.to_dict() == config and not hooks_of(model)
    assert parts_of(model) == parts  # no buffer, forward or other attribute is left behind
    if attached.parameters:
        with pytest.raises(ValueError, match="is not attached to its model any more"):
            attached.detach()
    attach(model, options)  # and it can be attached again


@every_method
def test_merged_model_gives_the_same_logits(model, ids, options, record_property):
    """To 1e-4 (relative and absolute), in the bare backbone; or an error that says why not."""
    names = {name: p.detach().clone() for name, p in model.named_parameters()}
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    adapted = logits(model, ids)
    leave_gradients(model, attached, ids)
    try:
        attached.merge()
    except ValueError as error:
        assert re.match("this method cannot be merged into the backbone's weights: .", str(error))
        assert torch.equal(logits(model, ids), adapted)  # and nothing has happened
        record_property("not promised", str(error))
        return
    torch.testing.assert_close(logits(model, ids), adapted, rtol=1e-4, atol=1e-4)
    merged = dict(model.named_parameters())
    assert list(merged) == list(names) and all(p.requires_grad for p in merged.values())
    assert all(p.grad is None for p in merged.values()) and not hooks_of(model)
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
    if first.hooks:  # whose module holds nothing of the backbone: what is drawn has a checksum
        own = [*first.module.parameters(), *first.module.buffers()]
        own += [t for m in first.module.modules() for t in vars(m).values() if torch.is_tensor(t)]
        named = [t for d in (first.parameters, first.fixed, first.state) for t in d.values()]
        assert {id(tensor) for tensor in own} <= {id(tensor) for tensor in named}


@every_method
def test_what_is_drawn_comes_from_the_seed(model, options):
    """What is neither one number throughout nor computed from the backbone: drawn anew with another
    seed. A method that does not hand its seed on has the same draws in every run."""
    backbones = [copy.deepcopy(model), make_model(seed=1)]
    first, reseeded, elsewhere = (
        attach(backbone, options, seed)
        for backbone, seed in ((model, 1), (backbones[0], 2), (backbones[1], 1))
    )
    for kind in ("parameters", "fixed"):
        for name, tensor in getattr(first, kind).items():
            others = (getattr(other, kind)[name] for other in (reseeded, elsewhere))
            even = tensor.unique().numel() == 1
            assert even or not all(torch.equal(tensor, other) for other in others), name


@every_method
def test_what_it_logs_is_plain_numbers_and_words(model, ids, options):
    """A tensor, or a NumPy number, could not be written into train_log.jsonl."""
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    told = [attached.scalars(), *attached.events]
    assert json.loads(json.dumps(told)) == told


@every_method
def test_two_in_one_model_are_each_alone(model, ids, options, record_property):
    """Each sees its own rows of a batch; what a method does beside its hooks would reach all."""
    attached = [attach(model, options)]
    if attached[0].hooks is None:
        record_property("not promised", "it works by other means than hooks")
        return
    train_a_little(model, attached[0], ids)
    alone = [logits(model, ids)]
    attached[0].detach()
    attached.append(attach(model, options, seed=4))
    alone.append(logits(model, ids))
    attached[1].detach()
    stack(model, attached)
    both = logits(model, torch.cat([ids, ids]))
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=1e-4)


@every_method
def test_a_model_in_float64_computes_in_it(model, ids, options, record_property):
    """After a training with its schedule, too."""
    model.double()
    if options["name"] == "pissa":
        record_property("not promised", "in fp32 alone")
        with pytest.raises(ValueError, match="pissa needs a model in torch.float32"):
            attach(model, options)
        return
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    assert logits(model, ids).dtype == torch.float64
    attached.detach()
    assert logits(model, ids).dtype == torch.float64


@every_method
def test_gradients_are_those_of_finite_differences(model, ids, options, record_property):
    """Of loss and penalty, along a random direction, in float64; and no tensor is without one.

    PiSSA needs fp32, and FourierFT goes through it. DoRA's gradient takes the norm of a weight for
    a constant (section 4.3 of its paper).
    """
    if options["name"] in ("pissa", "fourierft", "dora"):
        record_property("not promised", "in fp32, or not the whole gradient")
        return
    model.double()
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    parameters = list(attached.parameters.values())
    draws = torch.Generator().manual_seed(7)
    direction, away = (
        [torch.randn(p.shape, generator=draws, dtype=p.dtype) for p in parameters] for _ in "12"
    )
    with torch.no_grad():  # from zeros that an event in the last step has left
        for parameter, part in zip(parameters, away, strict=True):
            parameter.add_(0.01 * part)
            parameter.grad = None  # what came in an event kept its own

    def loss(shift: float = 0.0):
        with torch.no_grad():
            for parameter, part in zip(parameters, direction, strict=True):
                parameter.add_(shift * part)
        return F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:]) + attached.penalty()

    if not parameters:
        return
    loss().backward()
    assert all(p.grad is not None and p.grad.any() for p in parameters)
    slope = sum((p.grad * part).sum() for p, part in zip(parameters, direction, strict=True))
    h = 1e-6
    difference = (loss(h) - loss(-2 * h)) / (2 * h)
    torch.testing.assert_close(slope, difference.detach(), rtol=1e-4, atol=1e-6)


def unused(options: dict, attached, ids) -> int:
    """How many numbers have no part in the outputs of these inputs, whatever they are."""
    if options["name"] in ("full", "bitfit"):  # positions that the inputs do not reach; and what
        # a key's bias adds to the logits of attention is the same for all positions
        rest = [p[ids.shape[1] :] for name, p in attached.parameters.items() if "wpe" in name]
        keys = [p[: len(p) // 3] for n, p in attached.parameters.items() if "c_attn.bias" in n]
        return sum(p.numel() for p in rest + keys)
    if options.get("variant") == "devcode" and "sparsity" in options:
        return 2  # the permutation of 0 ... n-1 multiplies one entry of each matrix by 0
    return 0


@every_method
def test_every_number_has_a_part_in_the_outputs(model, ids, options, record_property):
    """A row of a stacked parameter that nothing reads would be counted, and saved, all the same."""
    if options["name"] != "pissa":  # which is of fp32 alone
        model.double()
    attached = attach(model, options)
    if not attached.parameters:
        return
    train_a_little(model, attached, ids)
    draws, sizes = torch.Generator().manual_seed(7), 0
    for _ in range(40):  # a ReLU may be closed for one draw, a vector not among the chosen ones
        for parameter in attached.parameters.values():
            parameter.data.normal_(std=0.1, generator=draws)
            parameter.grad = None
        F.cross_entropy(model(ids).logits.flatten(0, 1), ids.flatten()).backward()
        sizes += torch.cat([p.grad.flatten().abs() for p in attached.parameters.values()])
        without = int((sizes < 1e-10 * sizes.max()).sum())
        if without == unused(options, attached, ids):
            break
    assert without == unused(options, attached, ids)
    if without:
        record_property("not promised", "some are there for other inputs, or by definition")


def acts(attached, step: int) -> bool:
    """Whether `after_step` changes what is trained, or has an event; it is called."""

    def copied():
        tensors = attached.parameters | attached.fixed
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    before, events = copied(), len(attached.events)
    attached.after_step(step)
    after = copied()
    same = before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    return not same or len(attached.events) > events


WITH_STEPS = [name for name, method in METHODS.items() if method.after_step != Method.after_step]


@pytest.mark.parametrize("name", WITH_STEPS)
def test_what_follows_a_step_happens_within_the_steps_of_these_tests(model, ids, name):
    """Otherwise its saving, resuming and merging are tested without it: give it a line in CASES."""
    acted = []
    for options in CASES.get(name, [{}]):
        attached = attach(copy.deepcopy(model), {"name": name} | options)
        attached.start(4)
        for step in range(1, 5):
            draws = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for parameter in attached.parameters.values():
                    parameter.normal_(generator=draws)
                    parameter.grad = torch.ones_like(parameter)
            acted.append(acts(attached, step))
    assert any(acted)


@every_method
def test_what_is_detached_cannot_be_merged(model, ids, options):
    attached = attach(model, options)
    attached.detach()
    model.train()
    with pytest.raises(ValueError, match="is not attached to its model|cannot be merged into"):
        attached.merge()
    assert model.training


@every_method
def test_a_resumed_training_ends_as_the_unbroken_one(model, ids, options, tmp_path):
    """To the bit, dropout, schedule and its events included, after a kill between any two steps."""
    ends, fresh = [], copy.deepcopy(model)
    config = TrainConfig(lr=0.05, warmup_steps=0)
    for done in (None, 1, 2, 3):
        model = copy.deepcopy(fresh)
        attached = attach(model, options)
        if not attached.parameters:
            return
        attached.start(4)
        optimizer = make_optimizer(attached, config)
        for step in range(1, 5):
            if step - 1 == done:
                save(tmp_path / STATE, attached, optimizer, "", {"step": done})
                model = copy.deepcopy(fresh)
                attached = attach(model, options)
                attached.start(4)
                optimizer = make_optimizer(attached, config)
                resume(tmp_path / STATE, attached, optimizer, "")
            model.train()
            training_loss(model, attached, ids, step).backward()
            set_step(optimizer, step, 0.05, config)
            optimizer.step()
            after_step(attached, optimizer, step)
            optimizer.zero_grad()
        ends.append((attached.parameters | attached.state, attached.events))
    (whole, told), *others = ends
    for resumed, events in others:
        assert resumed.keys() == whole.keys() and events == told
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)
