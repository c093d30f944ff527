"""Houlsby adapters and BitFit against their definitions."""

import torch
import torch.nn.functional as F
from transformers import GPT2Config

from solo.adapters import make_config


def attach(model, name, **options):
    method, config = make_config({"name": name, **options})
    return method.attach(model, config, 1)


def test_houlsby_adds_a_bottleneck_to_both_projections(model):
    """y + W_up gelu(W_down y + b) + c, the skip connection inside."""
    block = model.transformer.h[3]
    attached = attach(model, "houlsby", size=5)
    attached.detach()
    x = {"attn": torch.randn(2, 4, 16), "mlp": torch.randn(2, 4, 64)}
    with torch.no_grad():
        plain = {place: block.get_submodule(place).c_proj(x[place]) for place in x}
        attached = attach(model, "houlsby", size=5)
        for parameter in attached.parameters.values():
            parameter.normal_()
        for place, y in plain.items():
            p = {name: attached.parameters[f"3.{place}.{name}"] for name in ("down", "up")}
            b = {name: attached.parameters[f"3.{place}.{name}_bias"] for name in ("down", "up")}
            z = F.gelu(y @ p["down"].T + b["down"], approximate="tanh")
            wanted = y + z @ p["up"].T + b["up"]
            found = block.get_submodule(place).c_proj(x[place])
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_houlsby_starts_near_the_backbone(model, ids):
    with torch.no_grad():
        before = model(ids).logits
        attached = attach(model, "houlsby", size=8)
        after = model(ids).logits
    for name, parameter in attached.parameters.items():
        assert parameter.abs().max() <= 0.02, name  # two standard deviations, or a zero bias
    assert 0 < (after - before).abs().max() < 0.02 * before.abs().max()


def test_bitfit_trains_every_bias_and_nothing_else(model):
    attached = attach(model, "bitfit")
    assert all(name.endswith("bias") for name in attached.parameters)
    assert len(attached.parameters) == 6 * 6 + 1  # four projections and two LayerNorms; ln_f


def test_counts_of_gpt2_small():
    """BitFit: 0.1M of 124M, as usual; Houlsby: 2 x 12 x (2 x 768 x 64 + 64 + 768)."""
    for name, count in {"bitfit": 12 * (2304 + 768 + 3072 + 768 + 4 * 384) + 768}.items():
        method, config = make_config({"name": name})
        assert method.n_params(GPT2Config(), config) == count
    method, config = make_config({"name": "houlsby"})
    assert method.n_params(GPT2Config(), config) == 24 * (2 * 768 * 64 + 64 + 768)
