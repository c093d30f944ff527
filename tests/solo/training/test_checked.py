"""A fast way that computes something else is found out on the first batches, and not taken."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from transformers import activations

from solo.adapters import make_config
from solo.backbones import attention, gelu, products
from solo.training import loss as loss_module
from solo.training.checked import LIMITS, checked, difference
from solo.training.loss import training_loss
from solo.training.recipe import TrainConfig
from tests.conftest import make_model
from tests.solo.training.test_together import read
from tests.solo.training.test_train import RECIPE, TRAIN, run


def wrong_attention(*args, **options):
    """Attention that lets every token see what follows it."""
    out, weights = RIGHT(*args, **options)
    return out + 0.3 * out.roll(1, 1), weights


class WrongGradient(torch.autograd.Function):
    """Nothing to be seen in its values; half of the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


RIGHT, RIGHT_GELU = attention.attention, gelu.gelu


def shifted_gelu(x):
    return RIGHT_GELU(x) + 3


def other_products(packed, x, bias):
    """As after weights were packed that are not the model's."""
    return 2 * RIGHT_TIMES(packed, x, bias)


RIGHT_TIMES = products.Packed.times


def broken_gradient(logits, targets, smoothing):
    return F.cross_entropy(
        WrongGradient.apply(logits.float()), targets, reduction="none", label_smoothing=smoothing
    )


def fails(*args, **options):
    raise RuntimeError("no such kernel\nand a second line")


@pytest.mark.parametrize(
    ("where", "key", "broken", "told"),
    [
        (attention, "attention", wrong_attention, "differs"),
        (loss_module, "cross_entropy", broken_gradient, "a gradient"),
        (loss_module, "cross_entropy", fails, "RuntimeError: no such kernel)"),
        (gelu, "gelu", shifted_gelu, "differs"),
        (products.Packed, "times", other_products, "differs"),
    ],
    ids=["another-loss", "another-gradient", "an-error", "another-gelu", "other-products"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fast_path_that_is_wrong_is_not_taken(
    tmp_path, monkeypatch, where, key, broken, told, precision
):
    if broken is other_products:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        if not products.can_pack(torch.device("cpu"), dtype):
            pytest.skip("no packed products on this processor")
        monkeypatch.setattr(products, "_is_right", lambda *args: True)  # its own check comes first
    of_tests = activations.NewGELUActivation  # which their model has
    monkeypatch.setattr(activations, "GELUTanh", of_tests)
    options = {"name": "lora", "rank": 2, "dropout": 0.0}
    recipe = {"max_steps": 3, "warmup_steps": 0, "precision": precision}
    plain, _ = run(tmp_path / "plain", options, packed=False, **recipe)
    monkeypatch.setattr(where, key, broken)
    with pytest.warns(RuntimeWarning, match="plain path is taken"):
        got, _ = run(tmp_path / "fast", options, **recipe)
    [note] = read(tmp_path / "fast", "note")
    assert told in note and "\n" not in note
    for name, parameter in plain.items():
        assert torch.equal(got[name], parameter), name


def test_a_run_that_goes_on_after_a_kill_takes_the_way_it_was_on(tmp_path, monkeypatch):
    """Though the fast way is right there: with other draws of dropout it would be another run."""
    options, recipe = {"name": "lora", "rank": 2, "dropout": 0.1}, {"max_steps": 6, "save_every": 2}
    with (
        monkeypatch.context() as patched,
        pytest.warns(RuntimeWarning, match="plain path is taken"),
    ):
        patched.setattr(loss_module, "cross_entropy", fails)
        expected, _ = run(tmp_path / "whole", options, warmup_steps=0, **recipe)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", options, stop_at=3, warmup_steps=0, **recipe)
    got, _ = run(tmp_path / "killed", options, warmup_steps=0, **recipe)
    for name, parameter in expected.items():
        assert torch.equal(got[name], parameter), name
    assert len(read(tmp_path / "killed", "note")) == 1  # told once


def test_a_right_path_is_taken_and_nothing_is_told(tmp_path, recwarn):
    run(tmp_path, max_steps=2, warmup_steps=0)
    assert not read(tmp_path, "note")
    assert not [w for w in recwarn if w.category is RuntimeWarning]


def compiled_loss(monkeypatch, compile_, note):
    """training_loss of a run of Solo with dropout, its blocks "compiled" by `compile_`."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: compile_(function))
    model = make_model()
    method, config = make_config({"name": "solo", "rank": 4, "dropout": 0.3})
    attached = method.attach(model, config, 1)
    draws = torch.Generator().manual_seed(2)
    for parameter in attached.parameters.values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=draws)
    recipe = TrainConfig(**RECIPE | {"compile": True})
    model.train()
    return training_loss(model, recipe, [attached], 5, note)


def test_a_compiled_step_that_goes_wrong_later_is_found_out(monkeypatch):
    """As a CUDA graph that is right when recorded and reads something old when it is replayed."""
    calls, notes = [], []

    def stale(block):
        def forward(x, *args, **options):
            calls.append(x)
            return (
                1.1 * block(x, *args, **options) if len(calls) > 20 else block(x, *args, **options)
            )

        return forward

    with compiled_loss(monkeypatch, stale, notes.append) as summed:
        values = [summed([TRAIN[i : i + 4]]).item() for i in (0, 4, 8, 12)]
    assert len(notes) == 1 and "without torch.compile" in notes[0]
    with compiled_loss(monkeypatch, lambda function: function, notes.append) as summed:
        summed([TRAIN[:4]])
        expected = summed([TRAIN[4:8]])
    assert len(notes) == 1 and all(map(math.isfinite, [*values, expected.item()]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("options", [{"name": "solo", "rank": 4}, {"name": "lora", "rank": 2}])
def test_one_compilation_serves_all_blocks_and_sizes(tmp_path, monkeypatch, options, precision):
    """Twice: below the first adapter no gradient is wanted. Packed products are in it."""
    graphs, compile_ = [], torch.compile

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    def traced(function, dynamic):
        return compile_(function, dynamic=dynamic, backend=counting)

    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(loss_module, "RECORDED_CHECKS", 2)
    recipe = {"max_steps": 4, "warmup_steps": 0, "precision": precision}
    plain, _ = run(tmp_path / "plain", options, **recipe)
    assert not graphs
    got, _ = run(tmp_path / "compiled", options, compile=True, **recipe)
    assert not read(tmp_path / "compiled", "note") and 1 <= len(graphs) <= 2
    if products.can_pack(
        torch.device("cpu"), getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[precision])
    ):
        assert "packed_product" in graphs[0].print_readable(print_output=False)
    for name, parameter in plain.items():
        torch.testing.assert_close(got[name], parameter, rtol=1e-3, atol=1e-5)


def test_a_check_changes_no_loss(monkeypatch):
    """The losses of a run whose step is checked are those of one whose step is not."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    losses = []
    for n_checks in (0, 8):
        monkeypatch.setattr(loss_module, "RECORDED_CHECKS", n_checks)
        with compiled_loss(monkeypatch, lambda function: function, pytest.fail) as summed:
            losses.append([summed([TRAIN[i : i + 4]]).item() for i in (0, 4, 8)])
    assert losses[0] == losses[1] and len(set(losses[0])) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["solo", "lora", "lor2c"])
def test_not_one_gradient_may_be_zero_or_turned_around(name, precision):
    """However small it is beside the others, and at the start, too, where LoRA's B is zero."""
    model = make_model()
    method, config = make_config({"name": name})
    parameters = list(method.attach(model, config, 1).parameters.values())
    recipe, limits = TrainConfig(precision=precision), LIMITS[precision]
    plain = loss_module._stepwise(model, recipe, loss_module.collate, loss_module.summed_loss)
    told = partial(difference, plain=plain, batches=[TRAIN[:4]], parameters=parameters,
                   limits=limits)  # fmt: skip

    def turned(batches, parameter, factor):
        [gradient] = torch.autograd.grad(plain(batches).sum(), parameter)
        more = (factor - 1) * (parameter * gradient).sum()
        return plain(batches) + more - more.detach()

    assert told(plain) is None
    for parameter, factor in itertools.product(parameters, (0.0, -1.0)):
        words = told(partial(turned, parameter=parameter, factor=factor))
        assert words and "a gradient" in words


def test_a_run_that_diverged_is_not_the_fast_paths_fault():
    parameter = torch.nn.Parameter(torch.tensor([float("inf")]))

    def loss(batches):
        return parameter * 1.0

    way = checked(fails, loss, [parameter], LIMITS["fp32"], 1, pytest.fail)
    with pytest.raises(RuntimeError, match="no such kernel"):
        way([])  # no check was made, so the fast way was tried


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_one_rounding_does_to_a_run_is_no_fault_of_the_fast_path(precision):
    """A gradient that turns around when a parameter moves by its last digit, and one that does not:
    only beside the first may a way that rounds otherwise differ. Its loss is far too much for both.
    """
    rounding = LIMITS[precision].rounding
    parameter = torch.nn.Parameter(torch.linspace(1.0, 2.0, 50))
    before = parameter.detach().clone()

    def way(steepness, factor=1.0, more=0.0):
        def loss(batches):
            waves = (steepness * (parameter * (1 + more) - 1)).sin() / steepness
            return factor * (1e6 + waves.sum())[None]

        return loss

    def told(steepness, **options):
        plain, fast_way = way(steepness), way(steepness, **options)
        return difference(fast_way, plain, [], [parameter], LIMITS[precision])

    wild, tame = 1 / rounding, 1.0
    assert told(wild, more=rounding) is None
    assert "a gradient" in told(tame, more=0.5)
    for steepness in (wild, tame):
        assert "its loss" in told(steepness, factor=1.05)
    assert torch.equal(parameter, before)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rounding_that_only_one_direction_shows_is_seen(precision, direction):
    """A gradient of one number is 1 on this side of a bend and 3 on the other, where the fast way
    computes it; a single move of the parameter may go to the wrong side."""
    limits = LIMITS[precision]
    parameter = torch.nn.Parameter(torch.ones(1))

    def way(more):
        def loss(batches):
            beyond = direction * (parameter * (1 + more * direction) - 1) - limits.rounding / 2
            return 1e3 + direction * (parameter + 2 * beyond.relu() * direction)

        return loss

    plain, rounded, wrong = way(0.0), way(limits.rounding), lambda batches: 9 * way(0.0)(batches)
    assert difference(rounded, plain, [], [parameter], limits) is None
    assert difference(wrong, plain, [], [parameter], limits)


@pytest.mark.parametrize(("slope", "right"), [(1e-9, True), (1e-5, False)])
def test_a_last_digit_of_all_gradients_where_another_way_has_zero_is_no_fault(slope, right):
    large, small = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    told = difference(
        lambda batches: large + slope * small, lambda batches: large + 0 * small, [],
        [large, small], LIMITS["fp32"],
    )  # fmt: skip
    assert (told is None) == right
