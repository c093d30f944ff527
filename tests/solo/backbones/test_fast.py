"""The cheap parts of a step against the plain ones they stand for, values and gradients."""

import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2LMHeadModel

from solo.adapters import make_config
from solo.backbones import blocks_of, products, without_dropout
from solo.backbones.attention import attention, causal_attention
from solo.backbones.gelu import fast_gelu, gelu
from solo.backbones.products import Packed, can_pack, frozen_products
from solo.datasets.data import Example
from solo.training import loss as loss_module
from solo.training.batches import IGNORED, collate, pack
from solo.training.loss import cross_entropy, summed_loss
from tests.solo.adapters.test_adapters import ALL

OTHERS = ("none", "full", "prefix", "prompt")  # no gradients, no frozen weights, no packed batches
OPTIONS = [options for options in ALL if options["name"] not in OTHERS]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_torchs_cross_entropy(dtype, smoothing, monkeypatch):
    monkeypatch.setattr(loss_module, "IN_CACHE", 8 * 301)
    draws = torch.Generator().manual_seed(1)
    values = 5 * torch.randn(19, 301, generator=draws)  # not whole chunks
    targets = torch.randint(301, (19,), generator=draws)
    targets[[3, 18]] = IGNORED
    weights = torch.rand(19, generator=draws)
    found = []
    for function in (
        lambda x: cross_entropy(x, targets, smoothing),
        lambda x: F.cross_entropy(
            x.float(), targets, reduction="none", label_smoothing=smoothing, ignore_index=IGNORED
        ),
    ):
        logits = values.to(dtype, copy=True).requires_grad_()
        loss = function(logits)
        (loss * weights).sum().backward()
        found.append((loss.detach(), logits.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    loose = {"rtol": 1e-2, "atol": 1e-4} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(found[0][1], found[1][1], **loose)


@pytest.mark.parametrize(
    "dtype, loose", [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 1e-2)]
)
def test_gelu_is_torchs_tanh_form(dtype, loose):
    """Also far out, where a cube would be infinite: there torch's gradient is 0 and 1."""
    near = 4 * torch.randn(1000, generator=torch.Generator().manual_seed(3))
    values = torch.cat([near, torch.tensor([0.0, 11.9, 12.1, -12.1, 1e15, -1e15, torch.nan])])
    found = []
    for function in (gelu, lambda x: F.gelu(x, approximate="tanh")):
        x = values.to(dtype, copy=True).requires_grad_()
        y = function(x)
        y.backward(torch.linspace(-1, 2, len(x), dtype=dtype))
        found.append((y.detach(), x.grad))
        assert y.dtype == x.grad.dtype == dtype
        with torch.no_grad():
            assert torch.equal(function(x).nan_to_num(), y.nan_to_num())
    torch.testing.assert_close(found[0], found[1], rtol=loose, atol=loose, equal_nan=True)


def test_a_models_gelu_is_replaced_for_a_while(model):
    model = GPT2LMHeadModel(without_dropout(model.config)).eval()
    ids = torch.randint(60, (2, 12), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        before = model(ids).logits
        with fast_gelu(model):
            within = model(ids).logits
            assert all(block.mlp.act.forward is gelu for block in blocks_of(model))
        assert torch.equal(model(ids).logits, before)
    torch.testing.assert_close(within, before)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_gradients_of_a_fast_step_are_those_of_the_plain_one(model, options):
    """Biases that are trained, weights that are not, examples of unequal length in one row."""
    method, config = make_config(options)
    attached = method.attach(model, config, 1)
    draws = torch.Generator().manual_seed(2)
    for parameter in attached.parameters.values():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=draws)
    ids = torch.randint(60, (4, 12), generator=draws).tolist()
    examples = [Example(row[:n], 3) for row, n in zip(ids, (12, 5, 9, 7), strict=True)]

    def gradients(batch):
        loss = summed_loss(model, batch, 1, 0.1)
        loss.sum().backward()
        found = {name: p.grad for name, p in attached.parameters.items()}
        for parameter in attached.parameters.values():
            parameter.grad = None
        return loss.detach(), found

    plain = gradients(collate([examples]))
    with frozen_products(model, torch.float32):
        packs = can_pack(model.device, torch.float32)
        assert packs == any("forward" in vars(module) for module in model.modules())
        found = [gradients(pack([examples], multiple)) for multiple in (1, 8)]
    for loss, gradients_of in found:
        torch.testing.assert_close(loss, plain[0], rtol=1e-4, atol=1e-4)
        assert gradients_of.keys() == plain[1].keys()
        for name, gradient in plain[1].items():  # rounding is that of the largest terms
            atol = 1e-4 * gradient.abs().max().item()
            torch.testing.assert_close(gradients_of[name], gradient, rtol=1e-4, atol=atol)
    assert "forward" not in vars(model.lm_head)  # and everything is as it was
    torch.testing.assert_close(gradients(collate([examples])), plain)


@pytest.mark.parametrize("name", ["softcap", "s_aux"])
@pytest.mark.parametrize("function", [attention, causal_attention])
def test_attention_of_another_kind_is_refused(function, name):
    """It would be left out without a word; so a run goes the plain way."""
    q = torch.ones(1, 2, 3, 4)
    places = {"places": torch.tensor([[0, 1, 2]]), "origin": torch.tensor([0, 1, 2])}
    assert function(None, q, q, q, None, dropout=0.0, **places)[0].shape == (1, 3, 2, 4)
    with pytest.raises(ValueError, match=f"attention with {name} is none that is computed here"):
        function(None, q, q, q, None, **places, **{name: 30.0})


def test_weights_that_are_trained_stay_as_they_are(model):
    method, config = make_config({"name": "full"})
    method.attach(model, config, 1)
    with frozen_products(model, torch.float32):
        assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("broken", ["another", "none"])
def test_packed_products_that_are_wrong_are_not_used(model, monkeypatch, broken):
    """A version of torch whose private kernel computes something else, or refuses."""
    ids = torch.arange(12)[None]
    expected = model(ids).logits
    right = Packed.times

    def times(self, x, bias):
        if broken == "none":
            raise RuntimeError("could not create a primitive")
        return right(self, x, bias).roll(1, -1)

    monkeypatch.setattr(Packed, "times", times)
    monkeypatch.setattr(products, "_COMPARED", {})
    with (
        torch.no_grad(),
        pytest.warns(RuntimeWarning, match="multiplies wrongly with packed"),
        frozen_products(model, torch.float32),
    ):
        assert torch.equal(model(ids).logits, expected)
