"""LoR2C and ShareLoR2C, and the singular values that its schedules look at."""

import math

import pytest
import torch

from solo.adapters import make_config
from solo.adapters.shared.layers import feature_space, singular_values


def draws(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(model, **options):
    """A method without dropout, its parameters drawn; (attached, their values)."""
    method, config = make_config({"rank": 3, "alpha": 6, "dropout": 0.0, **options})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for i, parameter in enumerate(attached.parameters.values()):
            parameter.normal_(std=0.3, generator=draws(i))
    return attached, {name: p.detach().clone() for name, p in attached.parameters.items()}


def by_hand(model, ids, update) -> torch.Tensor:
    """Logits of the bare backbone, block by block; update(i, x) joins the output of block i."""
    x = model.transformer.wte(ids) + model.transformer.wpe(torch.arange(ids.shape[1]))
    for i, block in enumerate(model.transformer.h):
        y = block(x)
        x = (y[0] if isinstance(y, tuple) else y) + update(i, x)
    return model.lm_head(model.transformer.ln_f(x))


@pytest.mark.parametrize("group_size", [None, 1, 2, 6])
def test_forward_is_the_formula(model, ids, group_size):
    """y = Block(x) + 2 B A x with float64 sums; in ShareLoR2C the A of the group's first block."""
    options = {"name": "lor2c"}
    if group_size:
        options = {"name": "sharelor2c", "group_size": group_size}
    attached, values = made(model, **options)
    with torch.no_grad():
        adapted = model(ids).logits
        attached.detach()

        def update(i, x):
            first = i - i % (group_size or 1)
            product = values[f"{i}.b"].double() @ values[f"{first}.a"].double()
            return (2.0 * x.double() @ product.T).float()

        torch.testing.assert_close(by_hand(model, ids, update), adapted, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(model(ids).logits, adapted, rtol=1e-2, atol=1e-2)


def test_all_blocks_share_by_default(model):
    attached, _ = made(model, name="sharelor2c")
    assert sorted(attached.parameters) == ["0.a", *(f"{i}.b" for i in range(6))]


def test_start_is_that_of_torchs_linear(model):
    """A uniform within 1 / sqrt(d) (Kaiming with a = sqrt 5), all different; B zero."""
    method, config = make_config({"name": "lor2c", "rank": 8})
    parameters = method.attach(model, config, 1).parameters
    firsts = [p for name, p in parameters.items() if name.endswith("a")]
    assert len(firsts) == 6 and not any(torch.equal(firsts[0], a) for a in firsts[1:])
    largest = max(a.abs().max().item() for a in firsts)
    assert 0.9 / math.sqrt(16) < largest <= 1 / math.sqrt(16)
    assert all(p.abs().sum() == 0 for name, p in parameters.items() if name.endswith("b"))


@pytest.mark.parametrize("name", ["lor2c", "sharelor2c"])
def test_dropout_is_on_the_connections_input_in_training_only(model, ids, name):
    """With a rate near 1 next to nothing comes through: the backbone alone."""
    bare = model(ids).logits
    made(model, name=name, dropout=0.999999)
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, bare, rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(model.train()(ids).logits, bare, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("r", "n_in", "n_out"), [(3, 16, 16), (5, 9, 30), (1, 4, 4), (8, 6, 5)])
def test_singular_values_are_those_of_the_whole_product(r, n_in, n_out):
    a = torch.randn(r, n_in, generator=draws(), dtype=torch.float64)
    b = torch.randn(n_out, r, generator=draws(2), dtype=torch.float64)
    whole, values = torch.linalg.svdvals(b @ a), singular_values(a, b)
    assert len(values) <= r  # from the factors, not from the product
    longest = max(len(whole), len(values))
    whole, values = (torch.cat([v, v.new_zeros(longest - len(v))]) for v in (whole, values))
    torch.testing.assert_close(values, whole, rtol=1e-9, atol=1e-9)


def test_feature_space_by_hand():
    """B A = diag(6, 3, 1) with zeros around it."""
    a, b = torch.zeros(3, 8), torch.zeros(5, 3)
    a[range(3), [4, 0, 7]] = torch.tensor([2.0, 3.0, 1.0])
    b[[1, 4, 0], range(3)] = torch.tensor([3.0, 1.0, 1.0])
    assert feature_space(a, b, 0) == pytest.approx(10 / 3)
    assert feature_space(a, b, 1) == pytest.approx(0.6)
    assert feature_space(a, b, 2) == pytest.approx(0.9)
    assert feature_space(a, torch.zeros(5, 3), 2) == feature_space(a, torch.zeros(5, 3), 0) == 0


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_factors_that_are_not_finite_have_no_feature_space(wrong):
    for a, b in ((wrong, 0.0), (0.0, wrong)):
        with pytest.raises(FloatingPointError, match="factor is not finite; lower train.lr"):
            feature_space(torch.full((2, 4), a), torch.full((4, 2), b), 0)
