"""SSL and SSB against their definition."""

import pytest
import torch

from solo.adapters import make_config


def attach(model, name, **options):
    method, config = make_config({"name": name, **options})
    return method.attach(model, config, 1)


def normal_(attached):
    with torch.no_grad():
        for i, parameter in enumerate(attached.parameters.values()):
            parameter.normal_(generator=torch.Generator().manual_seed(i))


@pytest.mark.parametrize("name", ["ssl", "ssb"])
@pytest.mark.parametrize("target", ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"])
def test_scales_act_on_the_weight_and_not_on_the_bias(model, name, target):
    """x (diag(a) W diag(b)) + c for one projection, W (n_in, n_out) as GPT-2 stores it."""
    linear = model.transformer.h[2].get_submodule(
        {"c_attn": "attn.c_attn", "c_fc": "mlp.c_fc"}.get(target, target)
    )
    with torch.no_grad():
        linear.bias.normal_()
    weight, bias = linear.weight.clone(), linear.bias.clone()
    x = torch.randn(2, 5, weight.shape[0])
    attached = attach(model, name, targets=[target])
    normal_(attached)
    values = dict(attached.parameters)
    key = f"2.{target.replace('.', '_')}"
    assert values[f"{key}.a"].shape == weight.shape[:1]
    scaled = values[f"{key}.a"].diag() @ weight
    if name == "ssb":
        assert values[f"{key}.b"].shape == weight.shape[1:]
        scaled = scaled @ values[f"{key}.b"].diag()
    with torch.no_grad():
        torch.testing.assert_close(linear(x), x @ scaled + bias, rtol=1e-4, atol=1e-4)
        attached.merge()
        torch.testing.assert_close(linear.weight, scaled, rtol=1e-6, atol=1e-6)
        assert torch.equal(linear.bias, bias)


def test_ssl_on_c_fc_is_a_scale_of_the_layer_norm_before_it(model, ids):
    """x of c_fc is ln_2's output, so scaling ln_2's own weights is the same model."""
    attached = attach(model, "ssl", targets=["c_fc"])
    normal_(attached)
    with torch.no_grad():
        adapted = model(ids).logits
        values = [p.clone() for p in attached.parameters.values()]
        attached.detach()
        for block, a in zip(model.transformer.h, values, strict=True):
            block.ln_2.weight *= a
            block.ln_2.bias *= a
        torch.testing.assert_close(model(ids).logits, adapted, rtol=1e-4, atol=1e-4)


def test_counts_of_gpt2_small():
    from transformers import GPT2Config

    for name, each in {"ssl": 3 * 768 + 3072, "ssb": 3 * 768 + 3072 + 5 * 768 + 3072}.items():
        method, config = make_config({"name": name})
        assert method.n_params(GPT2Config(), config) == 12 * each


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (["k_prj"], "adapter.targets has 'k_prj'; a block of GPT-2 has: c_attn, attn.c_proj, c_fc"),
        (["c_fc", "c_fc"], "adapter.targets has 'c_fc' twice"),
        ([], "adapter.targets is empty; a block of GPT-2 has: c_attn"),
    ],
)
def test_bad_targets(targets, text):
    with pytest.raises(ValueError, match=text):
        make_config({"name": "ssl", "targets": targets})
