"""LoRA against its definition."""

import math

import pytest
import torch

from solo.adapters import make_config


def test_update_folded_into_the_weights_gives_the_same_logits(model, ids):
    """W + (alpha / r) B A on the query and value thirds, nothing on the key third."""
    method, config = make_config({"name": "lora", "rank": 3, "alpha": 6, "dropout": 0.0})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.normal_()
        adapted = model(ids).logits
        values = {name: p.clone() for name, p in attached.parameters.items()}
        attached.detach()
        for i, block in enumerate(model.transformer.h):
            for third, part in ((0, "q"), (2, "v")):
                update = 2.0 * values[f"{i}.{part}_b"] @ values[f"{i}.{part}_a"]  # (out, in)
                block.attn.c_attn.weight[:, third * 16 : (third + 1) * 16] += update.T
        torch.testing.assert_close(model(ids).logits, adapted, rtol=1e-4, atol=1e-4)


def test_start_is_loralibs(model):
    """A uniform within 1 / sqrt(fan in) (Kaiming with a = sqrt 5), B zero, A's all different."""
    method, config = make_config({"name": "lora", "rank": 8})
    parameters = method.attach(model, config, 1).parameters
    firsts = [p for name, p in parameters.items() if name.endswith("_a")]
    assert len(firsts) == 12 and not any(torch.equal(firsts[0], a) for a in firsts[1:])
    largest = max(a.abs().max().item() for a in firsts)
    assert 0.9 / math.sqrt(16) < largest <= 1 / math.sqrt(16)
    assert all(p.abs().sum() == 0 for name, p in parameters.items() if name.endswith("_b"))


def test_dropout_acts_in_training_only(model, ids):
    method, config = make_config({"name": "lora", "rank": 2, "dropout": 0.5})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.normal_()
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 0}, "adapter.rank is 0; it must be at least 1"),
        ({"alpha": 0}, "adapter.alpha is 0; it must be above 0"),
        ({"dropout": 1.0}, r"adapter.dropout is 1.0; it must be in \[0, 1\)"),
        (
            {"targets": ["query"]},
            "targets has 'query'; a block of GPT-2 has: q, k, v, c_attn",
        ),
        ({"targets": ["q", "c_attn"]}, "targets has c_attn and a part of it; choose"),
        ({"middle": "svd"}, "adapter.middle is 'svd'; known: null, diagonal, full"),
        ({"constraint": "x"}, "adapter.constraint is 'x'; known: null, o, d, n"),
        ({"constraint": "d", "middle": "diagonal"}, "constraint=d is not defined for middle=diag"),
        ({"constraint_weight": -1}, "adapter.constraint_weight is -1; it must be at least 0"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        make_config({"name": "lora", **options})


def made(model, **options):
    """LoRA without dropout, its parameters drawn; (attached, their values)."""
    method, config = make_config({"name": "lora", "rank": 3, "dropout": 0.0, **options})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for i, parameter in enumerate(attached.parameters.values()):
            parameter.normal_(generator=torch.Generator().manual_seed(i))
    return attached, {name: p.detach().clone() for name, p in attached.parameters.items()}


@pytest.mark.parametrize("middle", [None, "diagonal", "full"])
@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("c_attn", "attn.c_attn"),
        ("attn.c_proj", "attn.c_proj"),
        ("c_fc", "mlp.c_fc"),
        ("mlp.c_proj", "mlp.c_proj"),
    ],
)
def test_merging_adds_the_product_of_the_factors(model, target, path, middle):
    before = model.transformer.h[1].get_submodule(path).weight.clone()
    attached, values = made(model, targets=[target], middle=middle, alpha=6)
    a, b, d = (values.get(f"1.{target.replace('.', '_')}_{factor}") for factor in "abd")
    inner = {None: torch.eye(3), "diagonal": d.diag() if d is not None and d.ndim == 1 else d}
    product = 2.0 * b @ inner.get(middle, d) @ a  # (n_out, n_in)
    attached.merge()
    after = model.transformer.h[1].get_submodule(path).weight
    torch.testing.assert_close(after - before, product.T, rtol=1e-4, atol=1e-4)


def test_constraint_n_is_a_parallel_adapter(model, ids):
    """y + (alpha / r) B relu(A x), which no weight can hold."""
    linear = model.transformer.h[0].mlp.c_fc
    x = torch.randn(2, 4, 16)
    with torch.no_grad():
        before = linear(x)
        attached, values = made(model, targets=["c_fc"], constraint="n", alpha=6)
        a, b = values["0.c_fc_a"], values["0.c_fc_b"]
        wanted = before + 2.0 * torch.clamp(x @ a.T, min=0) @ b.T
        torch.testing.assert_close(linear(x), wanted, rtol=1e-4, atol=1e-4)
    assert attached.penalty() == 0.0
    with pytest.raises(ValueError, match="weights: constraint n puts a ReLU between A and B"):
        attached.merge()


@pytest.mark.parametrize(
    ("constraint", "of_b"),
    [("o", lambda gram: gram - torch.eye(3)), ("d", lambda gram: gram - gram.diag().diag())],
)
def test_penalty_is_that_of_the_paper(model, constraint, of_b):
    """Equations 25 and 26 with the paper's A (n, r) and B (r, m); the mean over 12 weights."""
    attached, values = made(model, constraint=constraint, constraint_weight=0.5)
    total = 0.0
    for i in range(6):
        for third in "qv":
            A, B = values[f"{i}.{third}_a"].T, values[f"{i}.{third}_b"].T
            total += torch.linalg.norm(A.T @ A - torch.eye(3), "fro") ** 2
            total += torch.linalg.norm(of_b(B @ B.T), "fro") ** 2
    torch.testing.assert_close(attached.penalty(), 0.5 * total / 12)


def test_penalty_is_zero_exactly_where_its_constraint_holds(model):
    attached, _ = made(model, constraint="d", middle=None)
    with torch.no_grad():
        for name, parameter in attached.parameters.items():
            rows = torch.linalg.qr(torch.randn(16, 3)).Q  # orthonormal columns
            parameter.copy_(rows.T if name.endswith("_a") else rows * torch.tensor([1.0, 2, 3]))
    assert attached.penalty().item() < 1e-9
    attached.detach()
    attached, _ = made(model, constraint="o", middle="diagonal")
    with torch.no_grad():
        for name, parameter in attached.parameters.items():
            if not name.endswith("_d"):
                rows = torch.linalg.qr(torch.randn(16, 3)).Q
                parameter.copy_(rows.T if name.endswith("_a") else rows)
    assert attached.penalty().item() < 1e-9
    assert attached.penalty().requires_grad
